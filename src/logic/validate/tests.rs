use super::*;

#[test]
fn near_words_are_suggested() {
    for (word, known, expected) in [
        (
            "datacentres",
            &["datacenters", "type"][..],
            Some("datacenters"),
        ),
        ("grup", &["group"], Some("group")),
        ("htp", &["http", "https"], Some("http")),
        ("banana", &["group", "task"], None),
    ] {
        assert_eq!(closest(word, known.iter().copied()), expected, "{word}");
    }
}
