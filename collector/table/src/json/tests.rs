use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::{ObjectWriter, elements, find, members, sql_text, value};
use crate::ValueType;

type Entry = (String, String, ValueType);

fn text() -> BoxedStrategy<String> {
    prop_oneof![any::<String>(), "[a-z\"\\\\\n\u{1}é😀$]{0,6}", Just("$bytes".to_owned())].boxed()
}

fn entry() -> BoxedStrategy<Entry> {
    let value = prop_oneof![
        text().prop_map(|text| (text, ValueType::String)),
        any::<i64>().prop_map(|number| (number.to_string(), ValueType::Int)),
        any::<f64>().prop_map(|number| {
            let text = format!("{number:?}");
            (text.strip_suffix(".0").unwrap_or(&text).to_owned(), ValueType::Double)
        }),
        any::<bool>().prop_map(|flag| (flag.to_string(), ValueType::Bool)),
        text().prop_map(|text| (text, ValueType::Bytes)),
        prop_oneof![
            Just("null"),
            Just("[]"),
            Just(r#"[1,"]",{"a":"}\""}]"#),
            Just(r#"{"$bytes":"x"}"#),
            Just(r#"{"$kvlist":{}}"#),
            Just(r#"{"$double":"NaN","b":[null]}"#)
        ]
        .prop_map(|json| (json.to_owned(), ValueType::Json)),
    ];
    (text(), value).prop_map(|(key, (value, value_type))| (key, value, value_type)).boxed()
}

fn written(entries: &[Entry]) -> String {
    let mut object = ObjectWriter::default();
    for (key, value, value_type) in entries {
        object.push(key, value, *value_type);
    }
    object.finish().to_owned()
}

fn read(object: &str) -> Vec<Entry> {
    let entries = members(object).map(|(key, json)| {
        let (value, value_type) = value(json);
        (key.into_owned(), value.into_owned(), value_type)
    });
    entries.collect()
}

proptest! {
    #[test]
    fn attributes_read_back_as_they_were_written(entries in vec(entry(), 0..6)) {
        prop_assert_eq!(read(&written(&entries)), entries);
    }

    #[test]
    fn no_text_panics_or_hangs(json in "[\\[\\]{}:,\"a\\\\u0d8 ]{0,40}", wild in any::<String>()) {
        for json in [json.as_str(), wild.as_str()] {
            for (_, member) in members(json) {
                value(member);
                sql_text(member);
            }
            assert!(elements(json).flat_map(members).count() <= json.len());
        }
    }
}

#[test]
fn types_are_seen_in_the_json() {
    let entries = [
        ("s", "a \"b\"\n\u{1}", ValueType::String),
        ("i", "-5", ValueType::Int),
        ("d", "1", ValueType::Double),
        ("e", "1e300", ValueType::Double),
        ("n", "NaN", ValueType::Double),
        ("m", "-inf", ValueType::Double),
        ("b", "true", ValueType::Bool),
        ("y", "AAE=", ValueType::Bytes),
        ("l", "[1,2]", ValueType::Json),
        ("k", r#"{"$bytes":"x"}"#, ValueType::Json),
        ("absent", "null", ValueType::Json),
        ("s", "twice", ValueType::String),
    ];
    let entries = entries.map(|(key, value, value_type)| (key.to_owned(), value.to_owned(), value_type));
    insta::assert_snapshot!(written(&entries), @r#"{"s":"a \"b\"\n\u0001","i":-5,"d":1.0,"e":1e300,"n":{"$double":"NaN"},"m":{"$double":"-Infinity"},"b":true,"y":{"$bytes":"AAE="},"l":[1,2],"k":{"$kvlist":{"$bytes":"x"}},"absent":null,"s":"twice"}"#);
    insta::assert_snapshot!(written(&[]), @"{}");
}

#[test]
fn a_text_that_does_not_fit_its_type_is_a_string() {
    for value_type in [ValueType::Int, ValueType::Double, ValueType::Bool, ValueType::Json] {
        let cut = [("k".to_owned(), "{\"a".to_owned(), value_type)];
        assert_eq!(read(&written(&cut)), [("k".to_owned(), "{\"a".to_owned(), ValueType::String)]);
    }
}

#[test]
fn sql_sees_strings_without_quotes_and_the_rest_as_it_is() {
    let object = r#" { "a" : "x\ty\u00e9\ud83d\ude00\ud83d" , "b":[1, "]"], "d":1.0 } "#;
    let shown = ["a", "b", "d", "none"].map(|key| find(object, key).map(sql_text));
    let expected = [Some("x\tyé😀\u{fffd}".into()), Some(r#"[1, "]"]"#.into()), Some("1.0".into()), None];
    assert_eq!(shown, expected);
}
