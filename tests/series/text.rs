//! The notation of labels: what parses, how it is written, and where errors are.

// quickcheck hands arguments over by value.

use losertree::Labels;
use losertree::series::{LabelsError, ParseLabelsError};
use quickcheck::{QuickCheck, TestResult};

#[test]
fn what_parses_is_written_and_parses_to_the_same() {
    // Texts put together from tokens, so that a fair share of them parses.
    fn same(tokens: Vec<u8>) -> TestResult {
        const TOKENS: [&str; 16] = [
            "{", "}", ",", "=", "\"", "a", "b\"", "\\n", "\\x00", "\\u00e9", " ", "\"\"", "ü", "\\",
            "a=\"1\"", ",",
        ];
        let text: String = tokens.iter().take(14).map(|token| TOKENS[usize::from(token % 16)]).collect();
        let text = if tokens.len().is_multiple_of(2) { format!("{{{text}}}") } else { text };
        match text.parse::<Labels>() {
            Ok(labels) => TestResult::from_bool(labels.to_string().parse() == Ok(labels)),
            Err(error) => TestResult::from_bool(text.is_char_boundary(error.offset())),
        }
    }
    QuickCheck::new().tests(20_000).quickcheck(same as fn(Vec<u8>) -> TestResult);
}

#[test]
fn notation_of_examples() {
    // From the data model and querying pages of the Prometheus documentation, and the UTF-8 guide.
    let cases = [
        ("{}", "{}"),
        (" { } ", "{}"),
        (
            r#"{method="post",__name__="http_requests_total",code="200"}"#,
            r#"{__name__="http_requests_total", code="200", method="post"}"#,
        ),
        (
            r#"{__name__="api_http_requests_total", method="POST", handler="/messages"}"#,
            r#"{__name__="api_http_requests_total", handler="/messages", method="POST"}"#,
        ),
        (
            r#"{ "service.name" = "my-service" , __name__ = "my.dotted.metric" , }"#,
            r#"{__name__="my.dotted.metric", "service.name"="my-service"}"#,
        ),
        (
            r#"{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""}"#,
            r#"{error="Cannot find file:\n\"FILE.TXT\"", path="C:\\DIR\\FILE.TXT"}"#,
        ),
        ("{\n\ta=\"1\",\r\n\tb=\"2\",\n}\n", r#"{a="1", b="2"}"#),
        (r#"{"a"="plain names need no quotes"}"#, r#"{a="plain names need no quotes"}"#),
        (r#"{""="", "9"="9", "a:b"="", _9=""}"#, r#"{""="", "9"="9", _9="", "a:b"=""}"#),
        (r#"{a="\a\b\f\v\'\x7f\x00"}"#, r#"{a="\x07\x08\x0c\x0b'\x7f\x00"}"#),
        (r#"{a="\u00e9\U0001F600\xc3\xa9 é\t"}"#, r#"{a="é😀é é\t"}"#),
        (r#"{a="{b=\"c\"}, "}"#, r#"{a="{b=\"c\"}, "}"#),
        (
            "{a=\"tab \t is allowed, \u{85} is written as it is\"}",
            "{a=\"tab \\t is allowed, \u{85} is written as it is\"}",
        ),
    ];
    for (text, written) in cases {
        let parsed = text.parse::<Labels>().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(parsed.to_string(), written);
        assert_eq!(format!("{parsed:?}"), written);
    }
}

#[test]
fn errors_of_the_notation_name_the_place() {
    let (name, quoted) = ("a label name or `}`", "a value in double quotes");
    // `^` marks the place, and is not part of the text.
    let cases = [
        ("^", "`{`"),
        ("  ^", "`{`"),
        ("^up{a=\"1\"}", "`{`"),
        ("{^", name),
        ("{^,}", name),
        ("{^9=\"1\"}", name),
        ("{ ^ü=\"1\"}", name),
        ("{a^", "`=`"),
        ("{a^}", "`=`"),
        ("{a^-b=\"1\"}", "`=`"),
        ("{a^ü=\"1\"}", "`=`"),
        ("{\"metric ü\"^}", "`=`"),
        ("{a=^", quoted),
        ("{a= ^1}", quoted),
        ("{a=^'1'}", quoted),
        ("{a=^~\"1\"}", quoted),
        ("{a=\"1^", "a closing quote"),
        ("{a=\"1\\\"^", "a closing quote"),
        ("{a=\"1^\n\"}", "a closing quote"),
        ("{a=\"1\\t^\n\"}", "a closing quote"),
        ("{\"a=^", "a closing quote"),
        ("{a=\"1\"^", "`,` or `}`"),
        ("{a=\"1\" ^b=\"2\"}", "`,` or `}`"),
        ("{a=\"1\",^", name),
        ("{a=\"1\",^,}", name),
        ("{a=\"1\"}^}", "the end of the text"),
        ("{} ^x", "the end of the text"),
        ("{}^\0", "the end of the text"),
    ];
    for (marked, expected) in cases {
        let (offset, text) = (marked.find('^').unwrap(), marked.replace('^', ""));
        let error = text.parse::<Labels>().unwrap_err();
        assert_eq!(error, ParseLabelsError::Expected { offset, expected }, "{text}");
        assert_eq!(error.to_string(), format!("expected {expected} at byte {offset}"));
        assert_eq!(error.offset(), offset);
    }

    for escape in [
        "\\",
        r"\q",
        r"\0",
        r"\x",
        r"\x1",
        r"\xg0",
        r"\x+1",
        r"\u12",
        r"\u+123",
        r"\ud800",
        r"\U00110000",
        r"\U1234567",
        r"\ü",
        r"\xüü",
        r"\u00ü",
    ] {
        let text = format!("{{a=\"é{escape}");
        assert_eq!(text.parse::<Labels>(), Err(ParseLabelsError::Escape { offset: 6 }), "{text}");
        let text = format!("{{a=\"é{escape} \"}}");
        if escape != "\\" {
            assert_eq!(text.parse::<Labels>(), Err(ParseLabelsError::Escape { offset: 6 }), "{text}");
        }
    }

    for not_utf8 in [r"\xff", r"\xc3", r"\xc3\n\xa9", r"x\x80", r"\xed\xa0\x80"] {
        let text = format!("{{a=\"1\", b=\"{not_utf8}\"}}");
        assert_eq!(text.parse::<Labels>(), Err(ParseLabelsError::NotUtf8 { offset: 10 }), "{text}");
    }

    let duplicate = |offset, name: &str| Err(ParseLabelsError::DuplicateName { offset, name: name.into() });
    assert_eq!(r#"{b="", a="1", "a"="2"}"#.parse::<Labels>(), duplicate(14, "a"));
    assert_eq!(r#"{"\x00"="","\u0000"=""}"#.parse::<Labels>(), duplicate(11, "\0"));
    assert_eq!(r#"{a="1", a="1", a="1"}"#.parse::<Labels>(), duplicate(8, "a"));
}

#[test]
fn errors_read_well() {
    let message = |error: LabelsError| error.to_string();
    assert_eq!(
        message(LabelsError::DuplicateName { name: "a\0".into() }),
        r#"label name "a\0" occurs twice"#
    );
    assert_eq!(
        message(LabelsError::Truncated { offset: 4 }),
        "packed labels end within the label that begins at byte 4"
    );
    assert_eq!(
        "{a=\"\\q\"}".parse::<Labels>().unwrap_err().to_string(),
        r#"expected one of \a \b \f \n \r \t \v \\ \' \" \xNN \uNNNN \UNNNNNNNN at byte 4"#
    );
    assert_eq!(
        "{a=\"\", a=\"\"}".parse::<Labels>().unwrap_err().to_string(),
        r#"expected a new label name at byte 7: "a" occurs twice"#
    );
}
