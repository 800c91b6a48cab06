//! The volumes of a pod, made once and kept over the restarts of its containers.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;

use serde_json::Value;
use testkit::{ConfigMap, PodDir};

use crate::container::Mount;
use crate::world::World;
use crate::yaml::{config_maps, list, text};

#[derive(Debug)]
pub(crate) struct Volumes {
    dir: PodDir,
    /// ConfigMaps, Secrets and projected volumes, to be swapped by a story.
    maps: BTreeMap<String, ConfigMap>,
}

impl Volumes {
    pub(crate) fn make(spec: &Value, documents: &[Value], world: &World) -> Self {
        let dir = PodDir::new();
        // The pod's folder belongs to root; its users pass through.
        set_mode(&dir.path().to_owned(), 0o711);
        dir.mkdir("volumes");
        let group = spec["securityContext"]["fsGroup"].as_u64();
        let mut maps = BTreeMap::new();
        for volume in list(&spec["volumes"]) {
            let name = text(&volume["name"]);
            let path = format!("volumes/{name}");
            if volume["emptyDir"].is_null() {
                let files = files(volume, documents, world);
                let files: Vec<(&str, &str)> = files.iter().map(|(n, c)| (n.as_str(), c.as_str())).collect();
                maps.insert(name.to_owned(), dir.config_map(path, &files));
                continue;
            }
            let folder = dir.mkdir(path);
            // With fsGroup a volume is the group's; without one everybody may write, as the kubelet has it.
            if let Some(group) = group {
                chown(&folder, None, Some(u32::try_from(group).expect("a group id"))).expect("chown");
                set_mode(&folder, 0o2770);
            } else {
                set_mode(&folder, 0o777);
            }
        }
        Self { dir, maps }
    }

    pub(crate) fn mounts(&self, container: &Value) -> Vec<Mount> {
        let mount = |mount: &Value| {
            let from = self.path(text(&mount["name"]));
            assert!(from.exists(), "no volume {}", mount["name"]);
            Mount { from, at: text(&mount["mountPath"]).to_owned(), read_only: mount["readOnly"] == true }
        };
        list(&container["volumeMounts"]).iter().map(mount).collect()
    }

    pub(crate) fn path(&self, volume: &str) -> PathBuf {
        self.dir.join("volumes").join(volume)
    }

    pub(crate) fn dir(&self) -> &PodDir {
        &self.dir
    }

    /// The complete lines of a file in a volume.
    pub(crate) fn lines(&self, volume: &str, file: &str) -> Vec<String> {
        self.dir.lines(PathBuf::from("volumes").join(volume).join(file))
    }

    /// Replaces the content of a ConfigMap, Secret or projected volume as the kubelet does.
    pub(crate) fn swap(&self, volume: &str, files: &[(&str, &str)]) {
        self.maps.get(volume).unwrap_or_else(|| panic!("{volume} is no ConfigMap or Secret")).swap(files);
    }
}

fn set_mode(path: &PathBuf, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

/// What a ConfigMap, Secret or projected volume holds: from the manifest, or from the world when it is not in there.
fn files(volume: &Value, documents: &[Value], world: &World) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut sources = vec![volume];
    sources.extend(list(&volume["projected"]["sources"]));
    for source in sources {
        let map = &source["configMap"]["name"];
        if !map.is_null() {
            let of = config_maps(documents).filter(|(name, _, _)| map == *name);
            found.extend(of.map(|(_, file, content)| (file.to_owned(), content.to_owned())));
            found.extend(world.secret(text(map)));
        }
        let secret = source["secret"]["secretName"].as_str().or(source["secret"]["name"].as_str());
        found.extend(secret.map(|name| world.secret(name)).unwrap_or_default());
        if let Some(path) = source["serviceAccountToken"]["path"].as_str() {
            found.extend(world.secret("token").into_iter().map(|(_, content)| (path.to_owned(), content)));
        }
    }
    assert!(!found.is_empty(), "nobody gives the volume {volume} its files");
    found
}
