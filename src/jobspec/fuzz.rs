//! What must hold for any bytes: the body of the fuzz targets, and of their replay.

use crate::{parse_job, problem::Errors};

/// Never panics; an accepted job is valid, and its JSON reads as the same job.
pub fn fuzz_job_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match parse_job("fuzz", data) {
        Ok(parsed) => {
            assert_eq!(
                logic::validate::job(&parsed.job),
                [],
                "accepted, but invalid"
            );
            let json = serde_json::to_vec(&parsed.job).expect("jobs serialize");
            match parse_job("fuzz.json", &json) {
                Ok(again) => assert_eq!(again.job, parsed.job, "changed by JSON"),
                Err(errors) => panic!("refused as JSON: {errors}"),
            }
            for warning in &parsed.warnings {
                assert!(!warning.render(&text).is_empty());
            }
        }
        Err(errors) => check_errors(&errors, &text),
    }
}

fn check_errors(errors: &Errors, text: &str) {
    assert!(!errors.0.is_empty(), "refused without a reason");
    for problem in &errors.0 {
        assert!(
            problem.line > 0 && problem.column > 0,
            "no place: {problem}"
        );
        assert!(!problem.render(text).is_empty());
    }
}
