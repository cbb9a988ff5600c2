//! What the commands print, and what they make of what they are given.

use super::super::golden;
use super::transfer::{Exported, imported, render_export};
use super::*;

fn get() -> Get {
    Get {
        key: String::new(),
        base64: false,
        detailed: false,
        keys: false,
        recurse: false,
        separator: "/".to_owned(),
        connection: CatalogConnection::default(),
    }
}

fn pair(key: &str, value: &str) -> KvPair {
    KvPair {
        key: key.to_owned(),
        value: STANDARD.encode(value),
        create_index: 133,
        modify_index: 1_234,
        ..KvPair::default()
    }
}

fn text(bytes: Result<Vec<u8>, Failure>) -> String {
    String::from_utf8(bytes.expect("rendered")).expect("text")
}

#[test]
fn a_list_has_a_line_for_each_key() {
    let pairs = [pair("a", "1"), pair("b", "")];
    assert_eq!(text(get().render_all(&pairs)), "a:1\nb:\n");
    let base64 = Get {
        base64: true,
        ..get()
    };
    assert_eq!(text(base64.render_all(&pairs)), "a:MQ==\nb:\n");
    assert_eq!(text(get().render_all(&[])), "");
}

#[test]
fn details_line_up() {
    let get = Get {
        detailed: true,
        ..get()
    };
    let one = "CreateIndex      133\nFlags            0\nKey              a\n\
               LockIndex        0\nModifyIndex      1234\nSession          -\n\
               Value            1";
    assert_eq!(text(get.render_detailed(&pair("a", "1"))), one);
    let all = text(get.render_all(&[pair("a", "1"), pair("a", "1")]));
    assert_eq!(all, format!("{one}\n\n{one}\n"));
}

#[test]
fn the_anchors_answers_are_understood() {
    let recorded = golden::answer::<Vec<KvPair>>("consul-api/GET_kv_a_recurse.json");
    let Some(pairs) = recorded else {
        return;
    };
    assert_eq!(text(get().render_all(&pairs)), "a/b:hello\n");
    let null =
        br#"[{"LockIndex":0,"Key":"a","Flags":0,"Value":null,"CreateIndex":1,"ModifyIndex":1}]"#;
    let null: Vec<KvPair> = super::super::http::decode(null).expect("an answer");
    assert_eq!(text(get().render_all(&null)), "a:\n");
}

#[test]
fn what_is_exported_can_be_imported() {
    let exported = [Exported {
        key: "a/b".to_owned(),
        flags: 42,
        value: Some("aGVsbG8=".to_owned()),
    }];
    let json = render_export(&exported).expect("JSON");
    assert_eq!(
        json,
        "[\n\t{\n\t\t\"key\": \"a/b\",\n\t\t\"flags\": 42,\n\t\t\"value\": \"aGVsbG8=\"\n\t}\n]"
    );
    let [exported] = exported;
    let expected = vec![(exported, b"hello".to_vec())];
    assert_eq!(imported(json.as_bytes()), Ok(expected));
    assert_eq!(render_export(&[]), Ok("[]".to_owned()));
}

#[test]
fn nothing_is_imported_of_what_is_partly_wrong() {
    for (data, message) in [
        ("{", "Cannot unmarshal data: "),
        (
            r#"[{"key":"a","value":"MQ=="},{"key":"b","value":"?"}]"#,
            "Error base 64 decoding value for key b: ",
        ),
    ] {
        let refused = imported(data.as_bytes()).expect_err(data);
        assert!(refused.message.starts_with(message), "{refused:?}");
    }
}

#[test]
fn data_comes_from_the_command_a_file_or_standard_input() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("value");
    std::fs::write(&file, "in a file").expect("written");
    let file = format!("@{}", file.display());
    for (data, expected) in [
        ("", ""),
        ("5", "5"),
        ("-5", "-5"),
        ("-", "typed"),
        (file.as_str(), "in a file"),
    ] {
        let read = read_data(data, &b"typed"[..]);
        assert_eq!(read, Ok(expected.as_bytes().to_vec()), "{data}");
    }
    let missing = read_data("@/no/such/file", &b""[..]).expect_err("missing");
    assert!(missing.starts_with("Failed to read file: /no/such/file: "));
}

#[test]
fn slashes_in_keys_stay() {
    assert_eq!(path("a/b c/ü?"), "/v1/kv/a/b%20c/%C3%BC%3F");
    assert_eq!(path(without_slash("/a")), "/v1/kv/a");
    assert_eq!(path(without_slash("/")), "/v1/kv/");
}

#[test]
fn deletions_that_make_no_sense_are_refused() {
    let check = |key: &str, recurse, cas, modify_index| {
        let delete = Delete {
            key: key.to_owned(),
            recurse,
            cas,
            modify_index,
            connection: CatalogConnection::default(),
        };
        delete.check(key).map_err(|failure| failure.message)
    };
    for (key, recurse, cas, index, message) in [
        ("", false, false, 0, "Error! Missing KEY argument"),
        (
            "a",
            false,
            true,
            0,
            "Cannot delete a key that does not exist.",
        ),
        (
            "a",
            false,
            false,
            1,
            "Cannot specify -modify-index without -cas!",
        ),
        ("a", true, true, 1, "Cannot specify both -cas and -recurse!"),
    ] {
        let refused = check(key, recurse, cas, index).expect_err(message);
        assert!(refused.starts_with(message), "{refused}");
    }
    assert_eq!(check("", true, false, 0), Ok(()));
    assert_eq!(check("a", false, true, 1), Ok(()));
}

fn put(flags: &[&str]) -> Put {
    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        put: Put,
    }
    let words = ["put", "a/key", "x"]
        .into_iter()
        .chain(flags.iter().copied());
    <Alone as clap::Parser>::try_parse_from(words)
        .expect("flags")
        .put
}

#[test]
fn a_lock_is_asked_for_with_its_session() {
    let lock = put(&["--acquire", "--session", "an id"]).terms();
    let lock = lock.expect("terms");
    assert_eq!(lock.parameter, "&acquire=an%20id");
    assert_eq!(lock.done, "Lock acquired on");
    assert_eq!(lock.unmet, Failure::new("Error! Did not acquire lock"));
    let unlock = put(&["--release", "--session", "s"]).terms();
    assert_eq!(unlock.expect("terms").done, "Lock released on");
    for (flags, why) in [
        (
            &["--acquire"][..],
            "Error! Missing -session (required with -acquire)",
        ),
        (
            &["--session", "s"],
            "Error! -session is for -acquire or -release",
        ),
        (&["--cas"], "Must specify -modify-index with -cas!"),
    ] {
        let refused = put(flags).terms().expect_err("it makes no sense");
        assert_eq!(refused, Failure::new(why));
    }
}
