use jobspec::parse_job;

#[test]
fn show() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    for dir in ["docs/jobs/walkthrough", "../shared/golden/malformed"] {
        let mut paths: Vec<_> = std::fs::read_dir(format!("{root}/{dir}"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "nomad"))
            .collect();
        paths.sort();
        for path in paths {
            let text = std::fs::read(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().to_string();
            match parse_job(&name, &text) {
                Ok(parsed) => {
                    eprintln!("OK {name}");
                    for w in parsed.warnings {
                        eprintln!("  {w}");
                    }
                }
                Err(e) => eprintln!("{}\n", e.render(&String::from_utf8_lossy(&text))),
            }
        }
    }
}
