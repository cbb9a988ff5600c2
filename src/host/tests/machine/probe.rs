//! The only program in the image the Docker tests use; built static, for an empty image.

use std::io::Write;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve"] => {
            say("ready\n");
            loop {
                std::thread::park();
            }
        }
        ["exit", code] => std::process::exit(code.parse().unwrap_or(99)),
        ["show"] => show(),
        ["eat"] => eat(),
        _ => std::process::exit(98),
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn show() {
    for (name, value) in std::env::vars() {
        say(&format!("{name}={value}\n"));
    }
    let limit = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]
    .iter()
    .find_map(|path| std::fs::read_to_string(path).ok());
    say(&format!("memory={}\n", limit.unwrap_or_default().trim()));
    if std::fs::write("/alloc/data/from-container", "kept").is_err() {
        std::process::exit(97);
    }
}

fn eat() {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        eaten.push(vec![1; 1 << 20]);
        if eaten.len() > 1024 {
            std::process::exit(96);
        }
    }
}
