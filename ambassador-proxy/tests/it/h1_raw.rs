//! HTTP/1.1 byte by byte on both sides: what servers and clients do that no library lets one say.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::common::{Proxy, start};
use testkit::eventually;
use testkit::fake::FakeHttp;

/// One end of a connection, and what has come on it.
struct Line {
    stream: TcpStream,
    came: Vec<u8>,
}

impl Line {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(testkit::timeout())).unwrap();
        stream.set_write_timeout(Some(testkit::timeout())).unwrap();
        Self { stream, came: Vec::new() }
    }

    fn open(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    fn more(&mut self) -> usize {
        let mut buffer = [0; 16 << 10];
        let n = self.stream.read(&mut buffer).unwrap();
        self.came.extend_from_slice(&buffer[..n]);
        n
    }

    fn take(&mut self, n: usize) -> String {
        while self.came.len() < n {
            assert!(self.more() > 0, "the end instead of {n} bytes: {}", self.came.escape_ascii());
        }
        String::from_utf8(self.came.drain(..n).collect()).unwrap()
    }

    /// Everything up to and with `end`.
    fn until(&mut self, end: &str) -> String {
        loop {
            let found = self.came.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = found {
                return self.take(at + end.len());
            }
            assert!(self.more() > 0, "the end instead of {end:?}: {}", self.came.escape_ascii());
        }
    }

    /// A head, in small letters; `None` at the end.
    fn try_head(&mut self) -> Option<String> {
        if self.came.is_empty() && self.more() == 0 {
            return None;
        }
        Some(self.until("\r\n\r\n").to_ascii_lowercase())
    }

    fn head(&mut self) -> String {
        self.try_head().expect("a head, not the end")
    }

    /// A message with a length or in chunks: its head, its body, and its trailers.
    fn message(&mut self) -> (String, String, String) {
        let head = self.head();
        if let Some((_, rest)) = head.split_once("content-length: ") {
            let length = rest.lines().next().unwrap().parse().unwrap();
            return (head, self.take(length), String::new());
        }
        let mut body = String::new();
        if head.contains("transfer-encoding: chunked") {
            loop {
                let size = usize::from_str_radix(self.until("\r\n").trim_end(), 16).unwrap();
                if size == 0 {
                    break;
                }
                body += &self.take(size);
                assert_eq!(self.take(2), "\r\n");
            }
            let mut trailers = self.until("\r\n");
            while !trailers.ends_with("\r\n\r\n") && trailers != "\r\n" {
                trailers += &self.until("\r\n");
            }
            return (head, body, trailers);
        }
        (head, body, String::new())
    }

    /// The connection has ended, and nothing more has come; a reset is an end, too.
    fn ends(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        assert!(self.came.is_empty() && rest.is_empty(), "{}", rest.escape_ascii());
    }
}

/// A server that does with each connection what it is told; gives back how many there were so far.
fn server(serve: impl Fn(usize, Line) + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count, serve) =
        (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)), Arc::new(serve));
    let counter = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (nth, serve) = (counter.fetch_add(1, SeqCst), serve.clone());
            std::thread::spawn(move || serve(nth, Line::new(stream)));
        }
    });
    (address, count)
}

/// One worker, so that there is one pool.
fn proxy(to: SocketAddr) -> Proxy {
    start(&["--http", &format!("127.0.0.1:0=http://{to}"), "--workers", "1"])
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn requests_in_a_row_are_answered_in_a_row_wherever_they_are_cut() {
    let upstream = FakeHttp::with(|request| {
        testkit::fake::Reply::new(200, format!("{} {} {}", request.method, request.target, request.text()))
    });
    let proxy = proxy(upstream.addr());
    let row = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
        GET /2 HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\n\r\n\r\n\r\n0\r\n\r\n\
        PUT /4 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n\
        POST /5 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET ";
    let answers = ["POST /1 hello", "GET /2 ", "POST /3 abc\r\n\r\n", "PUT /4 ", "POST /5 GET "];
    for cut in 0..row.len() {
        let mut client = Line::open(proxy.http());
        client.say(&row[..cut]);
        // Read apart, mostly; if not, it is the same all the same.
        std::thread::sleep(Duration::from_millis(1));
        client.say(&row[cut..]);
        for answer in answers {
            assert_eq!(client.message().1, answer, "cut at {cut}");
        }
    }
    let mut client = Line::open(proxy.http());
    for byte in row.as_bytes() {
        client.say([*byte]);
    }
    for answer in answers {
        assert_eq!(client.message().1, answer, "byte by byte");
    }
}

#[test]
fn an_answer_may_come_before_the_request_is_whole() {
    let (upstream, connections) = server(|_, mut line| {
        while let Some(head) = line.try_head() {
            let close = if head.contains("/close") { "Connection: close\r\n" } else { "" };
            line.say(format!("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n{close}\r\nbig"));
            if !close.is_empty() {
                return; // With all the rest unread: the kernel resets the connection.
            }
            if head.contains("/rest") {
                line.until("the end");
            }
        }
    });
    let proxy = proxy(upstream);
    for path in ["/keep", "/close"] {
        // The rest never comes: whoever waits for the answer gets it, and the connection ends with it.
        let mut client = Line::open(proxy.http());
        client.say(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegins"));
        let (head, body, _) = client.message();
        assert!(head.starts_with("http/1.1 413") && body == "big", "{path}: {head}");
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.ends();
    }
    // A client that sends on and on sees it, too, although nobody reads that.
    for path in ["/keep", "/close"] {
        let mut client = Line::open(proxy.http());
        client.say(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n"));
        let mut sender = client.stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let piece = vec![b'x'; 64 << 10];
            while sender.write_all(&piece).is_ok() {}
        });
        let (head, body, _) = client.message();
        assert!(head.starts_with("http/1.1 413") && body == "big", "{path}: {head}");
        drop(client.stream.shutdown(Shutdown::Both));
        sending.join().unwrap();
    }
    let before = connections.load(SeqCst);
    // If the rest does come, both connections may go on.
    let mut client = Line::open(proxy.http());
    client.say("POST /rest HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\n\r\nand now ");
    client.say("the end");
    assert_eq!(client.message().1, "big");
    assert!(connections.load(SeqCst) <= before + 1, "none is used that a body is still to go out on");
}

#[test]
fn words_on_the_way_are_not_the_answer() {
    let words = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
        HTTP/1.1 102 Processing\r\nContent-Length: 7\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n";
    let all = format!("{words}{OK}");
    let length = all.len();
    let (upstream, connections) = server(move |_, mut line| {
        for cut in 0.. {
            if line.try_head().is_none() {
                return;
            }
            let cut = cut % length;
            line.say(&all[..cut]);
            std::thread::sleep(Duration::from_millis(1));
            line.say(&all[cut..]);
        }
    });
    let proxy = proxy(upstream);
    let mut client = Line::open(proxy.http());
    for cut in 0..length {
        client.say(GET);
        let (head, body, _) = client.message();
        assert!(head.starts_with("http/1.1 200") && body == "ok", "cut at {cut}: {head}");
    }
    assert_eq!(connections.load(SeqCst), 1);
    // Words, and then nothing.
    let (upstream, _) = server(move |_, mut line| {
        line.head();
        line.say(words);
    });
    let other = self::proxy(upstream);
    let mut client = Line::open(other.http());
    client.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert!(client.head().starts_with("http/1.1 502"));
}

/// What the process holds, once it does not grow any more.
fn settled(passed: &AtomicU64) {
    let mut last = u64::MAX;
    eventually("nothing flows any more", || {
        let now = passed.load(SeqCst);
        let same = now == std::mem::replace(&mut last, now) && now > 0;
        std::thread::sleep(Duration::from_millis(200));
        same.then_some(())
    });
}

#[test]
fn slow_readers_cost_no_memory() {
    const PIECE: usize = 64 << 10;
    const PIECES: usize = 1024;
    let passed = Arc::new(AtomicU64::new(0));
    let count = passed.clone();
    let (upstream, _) = server(move |_, mut line| {
        line.head();
        line.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PIECE * PIECES));
        for n in 0..PIECES {
            line.say(vec![n.to_le_bytes()[0]; PIECE]);
            count.fetch_add(1, SeqCst);
        }
    });
    let proxy = proxy(upstream);
    let memory = || proxy.metrics().sum("ambassador_proxy_process_resident_memory_bytes");
    let before = memory();
    let mut clients: Vec<_> = (0..4).map(|_| Line::open(proxy.http())).collect();
    clients.iter_mut().for_each(|client| client.say(GET));
    settled(&passed);
    let after = memory();
    assert!(after - before < 4e6, "{before} → {after} with 256 MB on their way");
    let mut client = clients.pop().unwrap();
    client.head();
    let mut rest = std::mem::take(&mut client.came);
    while rest.len() < PIECE * PIECES {
        assert!(client.more() > 0);
        rest.append(&mut client.came);
    }
    let right = rest.chunks(PIECE).enumerate().all(|(n, piece)| piece == vec![n.to_le_bytes()[0]; PIECE]);
    assert!(right && rest.len() == PIECE * PIECES);
    // The other way: an upstream that does not read.
    let (upstream, _) = server(|_, line| {
        std::thread::sleep(testkit::timeout());
        drop(line);
    });
    let proxy = self::proxy(upstream);
    let memory = || proxy.metrics().sum("ambassador_proxy_process_resident_memory_bytes");
    let (before, passed) = (memory(), Arc::new(AtomicU64::new(0)));
    for _ in 0..4 {
        let (mut client, count) = (Line::open(proxy.http()), passed.clone());
        client.say(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", PIECE * PIECES));
        std::thread::spawn(move || {
            for _ in 0..PIECES {
                if client.stream.write_all(&[b'x'; PIECE]).is_err() {
                    return;
                }
                count.fetch_add(1, SeqCst);
            }
        });
    }
    settled(&passed);
    let after = memory();
    assert!(after - before < 4e6, "{before} → {after} with 256 MB on their way");
}

#[test]
fn answers_that_only_speak_of_a_body_have_none() {
    let (upstream, connections) = server(|_, mut line| {
        while let Some(head) = line.try_head() {
            let (_, path) = head.split_once('/').unwrap();
            line.say(match path.split(' ').next().unwrap() {
                "204" => "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
                "304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
                "chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "length" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                _ => OK,
            });
        }
    });
    let proxy = proxy(upstream);
    let mut client = Line::open(proxy.http());
    for (request, want, length) in [
        ("HEAD /length", "200", true),
        ("HEAD /chunked", "200", false),
        ("GET /204", "204", false),
        ("GET /304", "304", true),
        ("HEAD /304", "304", true),
        ("HEAD /204", "204", false),
    ] {
        client.say(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let head = client.head();
        assert!(head.starts_with(&format!("http/1.1 {want}")), "{request}: {head}");
        assert_eq!(head.contains("content-length: 5"), length, "{request}: {head}");
        // What comes next is the next answer.
        client.say(GET);
        assert_eq!(client.message().1, "ok", "after {request}");
    }
    assert_eq!(connections.load(SeqCst), 1, "every connection was kept");
}

#[test]
fn trailers_that_were_announced_go_both_ways() {
    let (upstream, _) = server(|_, mut line| {
        while line.came.len() + line.more() > 0 {
            let (head, body, trailers) = line.message();
            assert!(head.contains("trailer: x-sum") && head.contains("te: trailers"), "{head}");
            assert_eq!((body.as_str(), trailers.as_str()), ("hello world", "x-sum: 11\r\n\r\n"));
            line.say(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Check\r\n\r\n\
                 2\r\nok\r\n0\r\nX-Check: 2\r\nX-Other: 3\r\nContent-Length: 9\r\n\r\n",
            );
        }
    });
    let proxy = proxy(upstream);
    let mut client = Line::open(proxy.http());
    for _ in 0..2 {
        client.say(
            "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
             6\r\nhello \r\n5\r\nworld\r\n0\r\nX-Sum: 11\r\nX-Other: 3\r\n\r\n",
        );
        let (_, body, trailers) = client.message();
        assert_eq!((body.as_str(), trailers.as_str()), ("ok", "x-check: 2\r\n\r\n"));
    }
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";

#[test]
fn bytes_that_follow_an_upgrade_early_are_not_lost() {
    let (upstream, _) = server(|_, mut line| {
        let head = line.head();
        assert!(head.contains("upgrade: chat"), "{head}");
        line.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nwelcome");
        assert_eq!(line.take(9), "GET early");
        line.say("bye");
    });
    let proxy = proxy(upstream);
    for cut in [0, UPGRADE.len() - 1, UPGRADE.len(), UPGRADE.len() + 4] {
        let mut client = Line::open(proxy.http());
        let all = format!("{UPGRADE}GET early");
        client.say(&all[..cut]);
        std::thread::sleep(Duration::from_millis(1));
        client.say(&all[cut..]);
        assert!(client.head().starts_with("http/1.1 101"));
        assert_eq!(client.take(10), "welcomebye");
        client.ends();
    }
    // It is not granted: then they are the next request.
    let upstream = FakeHttp::with(|request| testkit::fake::Reply::new(200, &request.target));
    let refusing = self::proxy(upstream.addr());
    let mut client = Line::open(refusing.http());
    client.say(format!("{UPGRADE}{GET}"));
    assert_eq!((client.message().1, client.message().1), ("/chat".into(), "/".into()));
    // Nobody has asked for it.
    let (upstream, _) = server(|_, mut line| {
        line.head();
        line.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nwelcome");
    });
    let unasked = self::proxy(upstream);
    let mut client = Line::open(unasked.http());
    client.say(GET);
    assert!(client.head().starts_with("http/1.1 502"));
}

#[test]
fn a_body_that_was_refused_in_advance_is_not_read_as_a_request() {
    let (upstream, _) = server(|_, mut line| {
        let head = line.head();
        assert!(head.contains("expect: 100-continue"), "{head}");
        line.say("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
        line.ends();
    });
    let proxy = proxy(upstream);
    for body in ["", "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut client = Line::open(proxy.http());
        client.say("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 36\r\n\r\n");
        let (head, answer, _) = client.message();
        assert!(head.starts_with("http/1.1 417") && answer == "no", "{head}");
        // Whoever leaves the body out must not send anything else on this connection, and is told so.
        assert!(head.contains("connection: close"), "{head}");
        let _ = client.stream.write_all(body.as_bytes());
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.ends();
    }
}

#[test]
fn what_an_upstream_says_unasked_is_nobodys_answer() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    // Behind an answer: with it, or when it has been read.
    for later in [false, true] {
        let (said, next) = std::sync::mpsc::channel();
        let said = std::sync::Mutex::new(said);
        let (upstream, connections) = server(move |_, mut line| {
            while line.try_head().is_some() {
                line.say(if later { OK.to_owned() } else { format!("{OK}{EVIL}") });
                if later {
                    let _ = line.stream.write_all(EVIL.as_bytes());
                }
                let _ = said.lock().unwrap().send(());
            }
        });
        let proxy = proxy(upstream);
        let mut client = Line::open(proxy.http());
        for nth in 0..5 {
            client.say(GET);
            assert_eq!(client.message().1, "ok", "request {nth}, later: {later}");
            next.recv_timeout(testkit::timeout()).unwrap();
            // The kernel may take a moment to hand it over.
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(connections.load(SeqCst), 5, "none was used again");
    }
    // Before the request: a server's word that it is full, and an answer to whoever asked it.
    let (upstream, connections) = server(|_, mut line| {
        line.say("HTTP/1.1 503 Full\r\nContent-Length: 4\r\n\r\nfull");
        let _ = line.stream.read(&mut [0; 1024]);
    });
    let proxy = proxy(upstream);
    let mut client = Line::open(proxy.http());
    for nth in 0..5 {
        client.say(GET);
        let (head, body, _) = client.message();
        assert!(head.starts_with("http/1.1 503") && body == "full", "request {nth}: {head} {body}");
    }
    assert!(connections.load(SeqCst) >= 5, "none was used again");
}
