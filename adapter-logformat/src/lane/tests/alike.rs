//! What makes reading quick must not show: lines of a block, of which much is known together and from the lines before, become the same records as each
//! of them by itself, read by a lane that has seen nothing.

use super::*;

const FORMATS: [(&str, [&str; 4]); 5] = [
    (
        "nginx",
        [
            r#"10.0.17.203 - - [21/Nov/2026:13:24:10 +0000] "GET /a?b=17 HTTP/1.1" 200 51966 "https://shop.example/" "Mozilla/5.0 (X11)""#,
            r#"shop.example:8080 192.0.2.7, 10.0.0.1 - bob [21/Nov/2026:13:24:11 +0100] "\x16\x03" 400 0 "-" "-" "extra""#,
            r#"::1 - - [21/Nov/2026:13:24:10 +0000] "GET /\x22q HTTP/2" 007 - "-" "curl/8.0 \"x\"""#,
            r#"10.0.17.999 - - [21/Nov/2026:13:24:10Z+0000] "GET /a HTTP/1.1" 200 5"#,
        ],
    ),
    (
        "json",
        [
            r#"{"level":"info","ts":1795263850.123,"logger":"shop","caller":"a/b.go:17","msg":"order \"o\" accepted","n":51966,"amount":99.95,"labels":{"zone":"a"},"retries":[1,2]}"#,
            r#"{"level": "warn", "ts": 1795263850, "msg": "m", "a.b": 1, "a": -1.5e3, "\u0061": true, "n": 01}"#,
            r#"{"time":"2026-11-21T12:24:10.123Z","severity":30,"message":"\x22m\ud800","message":"n","tags":["x"],"event.original":1}"#,
            r#"{"@timestamp":"2026-11-21T12:24:10.123456Z","log.level":"INFO","ecs.version":"9.0.0","host":{"name":"h"},"k":"","":null}"#,
        ],
    ),
    (
        "logfmt",
        [
            r#"ts=2026-11-21T13:24:10.123Z level=info caller=orders/handler.go:7 msg="order \"o\" accepted" n=51966 amount=99.95 took=17ms"#,
            r#"ts=2026-11-21T13:24:10.123+01:00 level=INFO+2 msg= n=007 flag a.b=1 a=true"#,
            r#"ts=1795263850.5 level=w msg="it's" n=-1 k=v k=w"#,
            r#"ts=x level=y msg="\x22" 9=1. l=.5 m=1.5.2"#,
        ],
    ),
    (
        "syslog",
        [
            r#"<165>1 2026-11-21T13:24:10.123Z web3 shop 4242 ID47 [meta@32473 seq="17" zone="a"] order "o" accepted"#,
            r#"<13>1 - - - - - [x a="\]\"" a="b"][y a="1"] x"#,
            r#"<191>1 2026-11-21T13:24:10.123456+01:00 h a b-c - - é"#,
            r"<34>Nov 21 13:24:10 host su[77]: 'su root' failed",
        ],
    ),
    (
        "postgresql-csv",
        [
            r#"2026-11-21 12:24:10.123 UTC,"app","shop",77,"[local]",6920,1,"SELECT",2026-11-21 12:24:00 UTC,3/2,0,ERROR,42P01,"relation ""x"" does not exist",,,,,,"select * from x",15,,"psql","client backend",,0"#,
            r#"2026-11-21 12:24:10.123 UTC,"app","shop",77,"[local]",6920,1,"SELECT",2026-11-21 12:24:00 UTC,3/2,0,LOG,00000,"a",,,,,,,,,"psql","client backend",,0"#,
            "x,y",
            "",
        ],
    ),
];

/// A line of the format, damaged where `at` says so.
fn line(format: usize, which: usize, at: Option<(usize, Vec<u8>)>) -> Vec<u8> {
    let mut line = FORMATS[format].1[which].as_bytes().to_vec();
    if let Some((at, with)) = at {
        let at = at % (line.len() + 1);
        let end = line.len().min(at + with.len() / 2);
        line.splice(at..end, with.into_iter().filter(|byte| *byte != b'\n'));
    }
    line
}

fn lane(format: usize, schema: Schema, original: Original) -> Lane {
    let config = Config { schema, original, ..Config::default() };
    let stream = config::Stream {
        from: Some(FORMATS[format].0.to_owned()),
        multiline: Some("off".to_owned()),
        ..config::Stream::default()
    };
    let mut lane =
        Lane::new(Arc::new(Stream::compile(&stream, &config).expect("compiles")), Some("/var/log/x"));
    lane.set_now(Time { seconds: 1_795_263_850, nanos: 0 });
    lane
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_of_a_block_are_as_each_by_itself(
        format in 0..FORMATS.len(),
        lines in prop::collection::vec(
            (0usize..4, prop::option::weighted(0.3, (any::<usize>(), prop::collection::vec(any::<u8>(), 0..6)))),
            1..9,
        ),
        compact in any::<bool>(),
    ) {
        let lines: Vec<_> = lines.into_iter().map(|(which, at)| line(format, which, at)).collect();
        let original = if compact { Original::Failed } else { Original::Always };
        for schema in Schema::ALL {
            if schema == Schema::Otlp {
                // Its records stand together in lines.
                continue;
            }
            let (mut together, mut apart) = (Vec::new(), Vec::new());
            let (mut counts, mut sum) = (Counts::default(), Counts::default());
            let block = [lines.join(&b'\n'), b"\n".to_vec()].concat();
            lane(format, schema, original).lines(&block, true, &mut counts, &mut together);
            for line in &lines {
                lane(format, schema, original).line(line, None, &mut sum, &mut apart);
            }
            let text = |out: &[u8]| String::from_utf8_lossy(out).into_owned();
            prop_assert_eq!(text(&together), text(&apart), "{:?}", schema);
            prop_assert_eq!(counts, sum);
        }
    }
}
