//! `-t`: an API's answer through a template in Go's language.

use std::collections::HashMap;

use gtmpl_value::Value as Operand;
use serde_json::Value;

use super::exit::Failure;

/// The answer as the template says.
pub(super) fn rendered(template: &str, answer: &Value) -> Result<String, Failure> {
    gtmpl::template(template, operand(answer)).map_err(|error| {
        Failure::new(format!("Error rendering the template: {error}"))
            .hint("fields are named as in the answer to -json, for example {{.ID}}")
    })
}

fn operand(value: &Value) -> Operand {
    match value {
        // What lists are where there is nothing, and they can be gone through.
        Value::Null => Operand::Array(Vec::new()),
        Value::Bool(flag) => Operand::Bool(*flag),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Operand::from(number),
            (None, Some(number)) => Operand::from(number),
            (None, None) => Operand::from(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Operand::String(text.clone()),
        Value::Array(items) => Operand::Array(items.iter().map(operand).collect()),
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| (name.clone(), operand(value)));
            Operand::Map(fields.collect::<HashMap<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_conditions_and_loops_work_as_in_go() {
        let answer = json!([
            { "ID": "a", "Status": "running", "Stop": false, "Priority": 50, "Tags": ["x", "y"] },
            { "ID": "b", "Status": "dead", "Stop": true, "Priority": 70, "Tags": null },
        ]);
        for (template, text) in [
            (r#"{{range .}}{{.ID}}{{"\n"}}{{end}}"#, "a\nb\n"),
            ("{{len .}}", "2"),
            ("{{(index . 1).Status}}", "dead"),
            ("{{range .}}{{if .Stop}}{{.ID}}{{end}}{{end}}", "b"),
            (
                r#"{{range .}}{{if eq .Status "dead"}}{{.ID}}{{end}}{{end}}"#,
                "b",
            ),
            ("{{range .}}{{range .Tags}}{{.}},{{end}}{{end}}", "x,y,"),
            (
                "{{range $i, $job := .}}{{$i}}={{$job.Priority}} {{end}}",
                "0=50 1=70 ",
            ),
            (
                r#"{{with index . 0}}{{printf "%s %d" .ID .Priority}}{{end}}"#,
                "a 50",
            ),
        ] {
            assert_eq!(
                rendered(template, &answer),
                Ok(text.to_owned()),
                "{template}"
            );
        }
    }

    #[test]
    fn a_template_that_makes_no_sense_is_refused() {
        for template in [
            "{{.ID",
            "{{.Nope.X}}",
            "{{nosuch .}}",
            "{{end}}",
            "{{range}}",
        ] {
            let refused = rendered(template, &json!({ "ID": "a" })).expect_err(template);
            assert!(
                refused.message.starts_with("Error rendering"),
                "{refused:?}"
            );
        }
    }
}
