use super::{Recording, RecordingError};

/// Draws what a recording yields: `offset encoding text`, and the error it ends with.
fn drawn(bytes: &[u8], bytes_max: usize) -> String {
    let bodies = Recording::new(bytes, bytes_max).map(|body| match body {
        Ok(body) => {
            format!("{} {} {:?}", body.offset, body.encoding.as_str(), String::from_utf8_lossy(&body.bytes))
        }
        Err(error) => error.to_string(),
    });
    bodies.collect::<Vec<_>>().join("\n")
}

#[test]
fn frames_are_read_to_the_end() {
    insta::assert_snapshot!(drawn(b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01\n", 100), @r#"
    0 protobuf "ab"
    6 protobuf ""
    10 protobuf "\n"
    "#);
}

#[test]
fn lines_are_read_to_the_end_with_or_without_a_last_line_break() {
    insta::assert_snapshot!(drawn(b"{\"a\":1}\n\r\n{\"b\":2}", 100), @r#"
    0 json "{\"a\":1}\n"
    10 json "{\"b\":2}"
    "#);
}

#[test]
fn a_recording_that_was_cut_off_yields_what_is_whole_and_then_says_where() {
    insta::assert_snapshot!(drawn(b"\0\0\0\x02ab\0\0\0\x05cde", 100), @r#"
    0 protobuf "ab"
    the recording ends within the frame at byte 6
    "#);
    insta::assert_snapshot!(drawn(b"\0\0\0\x02ab\0\0", 100), @r#"
    0 protobuf "ab"
    the recording ends within the frame at byte 6
    "#);
}

#[test]
fn a_file_that_is_no_recording_is_refused_without_taking_memory_for_it() {
    insta::assert_snapshot!(drawn(b"PK\x03\x04 something else", 100), @r#"the frame at byte 0 is larger than 100 bytes: is this a recording of the file exporter?"#);
    insta::assert_snapshot!(drawn(&[b"{", &[b'x'; 200][..]].concat(), 100), @r#"the frame at byte 0 is larger than 100 bytes: is this a recording of the file exporter?"#);
}

#[test]
fn a_reader_that_fails_ends_the_recording() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("broken"))
        }
    }
    let mut recording = Recording::new(Broken, 100);
    assert!(matches!(recording.next(), Some(Err(RecordingError::Read { offset: 0, .. }))));
    assert!(recording.next().is_none());
}

#[test]
fn an_empty_recording_has_no_body() {
    assert_eq!(drawn(b"", 100), "");
}
