//! Kafka: a record per line, keyed by its file, so that the lines of a file stay in order; `acks=all`. (rskafka; Kafka protocol,
//! "Produce API".)

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use podkit::tls::TlsOptions;
use rskafka::BackoffConfig;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use rskafka::record::Record;
use tokio::sync::Mutex;

use super::{Answer, Patience, SetupError, Verdict};
use crate::batch::Batch;
use crate::config::{Auth, Sasl, SinkPlan, Topic};
use crate::content::time_of;
use crate::item::Item;

/// See the module.
#[derive(Debug)]
pub struct Kafka {
    brokers: Vec<String>,
    topic: String,
    /// Read for every connection: certificates rotate.
    tls: Option<TlsOptions>,
    auth: Option<Auth>,
    sasl: Sasl,
    compression: Compression,
    patience: Patience,
    /// A connection with the topic's partitions; made anew after any failure, so that names are resolved afresh.
    open: Mutex<Option<Arc<Open>>>,
}

#[derive(Debug)]
struct Open {
    client: Client,
    partitions: Vec<i32>,
    clients: Mutex<BTreeMap<i32, Arc<PartitionClient>>>,
}

impl Kafka {
    /// # Errors
    /// Certificates that cannot be used.
    pub fn new(plan: &SinkPlan, patience: Patience, topic: &Topic) -> Result<Self, SetupError> {
        let tls = topic.tls.then(|| plan.tls.clone());
        // Wrong files are told at once.
        tls.as_ref().map(|tls| podkit::tls::client_config(tls, &[])).transpose()?;
        Ok(Self {
            brokers: topic.brokers.clone(),
            topic: topic.name.clone(),
            tls,
            auth: plan.auth.clone(),
            sasl: topic.sasl,
            compression: match plan.compression {
                crate::config::Compression::None => Compression::NoCompression,
                crate::config::Compression::Gzip => Compression::Gzip,
                crate::config::Compression::Zstd => Compression::Zstd,
            },
            patience,
            open: Mutex::new(None),
        })
    }

    pub(super) async fn attempt(&self, batch: &Batch) -> Answer {
        let mut sent = false;
        let work = async {
            let open = self.open().await?;
            sent = true;
            Ok::<_, String>(self.produce(&open, batch).await)
        };
        match self.patience.within(work).await {
            Some(Ok(verdicts)) => {
                if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Later(_))) {
                    *self.open.lock().await = None;
                }
                Answer::Items(verdicts)
            }
            Some(Err(why)) => Answer::Later { why, after: None, answer_lost: false },
            None => {
                *self.open.lock().await = None;
                Answer::Later { why: "timed out".into(), after: None, answer_lost: sent }
            }
        }
    }

    async fn open(&self) -> Result<Arc<Open>, String> {
        let mut guard = self.open.lock().await;
        if let Some(open) = guard.as_ref() {
            return Ok(Arc::clone(open));
        }
        // Waiting and trying again is the lane's.
        let once = BackoffConfig { deadline: Some(Duration::ZERO), ..BackoffConfig::default() };
        let mut builder =
            ClientBuilder::new(self.brokers.clone()).client_id(crate::APP.name).backoff_config(once);
        if let Some(tls) = &self.tls {
            builder = builder.tls_config(podkit::tls::client_config(tls, &[]).map_err(|e| e.to_string())?);
        }
        if let Some(Auth::Basic { user, password }) = &self.auth {
            let password = password.read().map_err(|e| e.to_string())?;
            builder = builder.sasl_config(self.sasl.config(Credentials::new(user.clone(), password)));
        }
        let client = builder.build().await.map_err(|e| e.to_string())?;
        let topics = client.list_topics().await.map_err(|e| e.to_string())?;
        let topic = topics.into_iter().find(|topic| topic.name == self.topic);
        let topic = topic.ok_or_else(|| format!("there is no topic {:?}; create it", self.topic))?;
        let partitions: Vec<i32> = topic.partitions.into_iter().collect();
        let open = Arc::new(Open { client, partitions, clients: Mutex::default() });
        *guard = Some(Arc::clone(&open));
        Ok(open)
    }

    /// A request per partition, one after the other; a verdict for every item.
    async fn produce(&self, open: &Open, batch: &Batch) -> Vec<Verdict> {
        let mut groups: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for (place, item) in batch.items.iter().enumerate() {
            groups.entry(open.partition_of(&item)).or_default().push(place);
        }
        let mut verdicts = vec![Verdict::Later("not sent yet".into()); batch.items.len()];
        for (partition, places) in groups {
            let items: Vec<Item> = places.iter().filter_map(|place| batch.items.get(*place)).collect();
            let records = items.iter().map(|item| record(batch, item)).collect();
            let result = match open.client_of(&self.topic, partition).await {
                Ok(client) => client.produce(records, self.compression).await.map(|_| ()),
                Err(e) => Err(e),
            };
            let verdict = match result {
                Ok(()) => Verdict::Taken,
                // One record alone that is too large or not acceptable is itself at fault.
                Err(e) if is_refusal(&e) && items.len() == 1 => Verdict::Refused(e.to_string()),
                Err(e) if is_refusal(&e) => {
                    self.one_by_one(open, batch, partition, &places, &mut verdicts).await;
                    continue;
                }
                Err(e) => Verdict::Later(e.to_string()),
            };
            for place in places {
                verdicts[place] = verdict.clone();
            }
        }
        verdicts
    }

    /// A batch was refused for what is in it: who is at fault is found record by record.
    async fn one_by_one(
        &self,
        open: &Open,
        batch: &Batch,
        partition: i32,
        places: &[usize],
        verdicts: &mut [Verdict],
    ) {
        for &place in places {
            let Some(item) = batch.items.get(place) else { continue };
            let result = match open.client_of(&self.topic, partition).await {
                Ok(client) => client.produce(vec![record(batch, &item)], self.compression).await,
                Err(e) => Err(e),
            };
            verdicts[place] = match result {
                Ok(_) => Verdict::Taken,
                Err(e) if is_refusal(&e) => Verdict::Refused(e.to_string()),
                Err(e) => Verdict::Later(e.to_string()),
            };
        }
    }
}

impl Sasl {
    fn config(self, credentials: Credentials) -> SaslConfig {
        match self {
            Self::Plain => SaslConfig::Plain(credentials),
            Self::ScramSha256 => SaslConfig::ScramSha256(credentials),
            Self::ScramSha512 => SaslConfig::ScramSha512(credentials),
        }
    }
}

impl Open {
    /// The lines of a file go to one partition.
    fn partition_of(&self, item: &Item) -> i32 {
        let hash = crc32fast::hash(item.path.to_string_lossy().as_bytes());
        let place = usize::try_from(hash).unwrap_or(0) % self.partitions.len().max(1);
        self.partitions.get(place).copied().unwrap_or(0)
    }

    async fn client_of(&self, topic: &str, partition: i32) -> Result<Arc<PartitionClient>, Error> {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(&partition) {
            return Ok(Arc::clone(client));
        }
        let client = self.client.partition_client(topic, partition, UnknownTopicHandling::Error).await?;
        Ok(Arc::clone(clients.entry(partition).or_insert(Arc::new(client))))
    }
}

fn record(batch: &Batch, item: &Item) -> Record {
    let value = batch.document(item);
    let nanos = time_of(value).map(i128::from);
    let nanos = nanos.unwrap_or_else(|| jiff::Timestamp::now().as_nanosecond());
    Record {
        key: Some(item.path.to_string_lossy().into_owned().into_bytes()),
        value: Some(value.to_vec()),
        headers: BTreeMap::new(),
        timestamp: rskafka::chrono::DateTime::from_timestamp_nanos(i64::try_from(nanos).unwrap_or(0)),
    }
}

/// The records are at fault, now and for ever.
fn is_refusal(error: &Error) -> bool {
    let Error::ServerError { protocol_error, .. } = error else { return false };
    matches!(
        protocol_error,
        ProtocolError::MessageTooLarge
            | ProtocolError::RecordListTooLarge
            | ProtocolError::InvalidRecord
            // Such as a line that says it is of next year (`message.timestamp.after.max.ms`, an hour since Kafka 4.0; KIP-937).
            | ProtocolError::InvalidTimestamp
    )
}
