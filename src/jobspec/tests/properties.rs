//! What holds for any file.

use jobspec::{fuzz_job_file, load_agent_config};
use logic::config::AgentConfig;
use proptest::prelude::*;

use super::job_with;

/// Pieces that job files are made of, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just("\""),
        Just("="),
        Just("\n"),
        Just(","),
        Just("${"),
        Just("%{"),
        Just("<<EOF\n"),
        Just("EOF\n"),
        Just("/*"),
        Just("job \"a\" {"),
        Just("group \"g\" {\n"),
        Just("task \"t\" {\n"),
        Just("count = "),
        Just("-1"),
        Just("1e9"),
        Just("driver = \"docker\"\n"),
        Just("config {\n"),
        Just("image = \"x\"\n"),
        Just("}\n"),
        Just("? 1 : 2"),
        Just("é"),
        Just("\\"),
        Just("("),
        Just(")"),
        Just("/"),
        Just("* 2"),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_a_job_or_a_list_of_problems(
        bytes in prop::collection::vec(any::<u8>(), 0..300)
    ) {
        fuzz_job_file(&bytes);
    }

    #[test]
    fn any_pieces_are_a_job_or_a_list_of_problems(text in pieces()) {
        fuzz_job_file(text.as_bytes());
        fuzz_job_file(job_with(&text, &text).as_bytes());
    }

    #[test]
    fn any_pieces_are_a_configuration_or_a_list_of_problems(text in pieces()) {
        let files = [("a.hcl".to_owned(), text.into_bytes())];
        if let Err(errors) = load_agent_config(AgentConfig::default(), &files) {
            prop_assert!(!errors.0.is_empty());
        }
    }

    #[test]
    fn any_text_survives_in_an_attribute(text in "[^\"\\\\\n\r\0$%]{0,40}") {
        let job = super::accepted(&job_with("", &format!("user = \"{text}\""))).job;
        prop_assert_eq!(&job.task_groups[0].tasks[0].user, &text);
    }

    #[test]
    fn any_number_survives_in_the_environment(number in any::<i32>()) {
        let job = super::accepted(&job_with("", &format!("env {{\n A = {number}\n }}"))).job;
        prop_assert_eq!(&job.task_groups[0].tasks[0].env["A"], &number.to_string());
    }
}
