//! The web service of the walk-through, small enough for an image with nothing else in it.
//!
//! Only std, so that plain rustc builds it: see build.sh.

use std::io::{BufRead, BufReader, Read, Result as IoResult, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const PORT: u16 = 8081;
/// A request's head must end somewhere.
const HEAD_MAX: u64 = 16 << 10;
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

const SIGTERM: i32 = 15;

// The first process of a container ignores signals it has no handler for, and std has no handlers.
unsafe extern "C" {
    safe fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    safe fn _exit(code: i32) -> !;
}

extern "C" fn end(_: i32) {
    _exit(0)
}

fn main() -> IoResult<()> {
    signal(SIGTERM, end);
    let version = std::env::args().nth(1).unwrap_or_else(|| "v1.0.0".to_owned());
    let instance = std::env::var("NOMAD_ALLOC_NAME").unwrap_or_default();
    let listener = TcpListener::bind(("0.0.0.0", PORT))?;
    println!("httpbackendservice {version} listening on {}", listener.local_addr()?);
    let body = format!("this is httpbackendservice, version: {version}\n");
    for connection in listener.incoming() {
        let (body, instance) = (body.clone(), instance.clone());
        match connection {
            Ok(connection) => {
                // A client that goes away is no news.
                std::thread::spawn(move || converse(&connection, &instance, &body).ok());
            }
            Err(error) => {
                println!("can't accept a connection: {error}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
    Ok(())
}

/// Answers requests until the client closes the connection or asks for its end.
fn converse(connection: &TcpStream, instance: &str, body: &str) -> IoResult<()> {
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(IDLE_TIMEOUT))?;
    let mut reader = BufReader::new(connection);
    while let Some(head) = Head::read(&mut reader)? {
        let sent_body = &mut (&mut reader).take(head.body_length);
        std::io::copy(sent_body, &mut std::io::sink())?;
        let answered = if head.method == "HEAD" { "" } else { body };
        let connection_header = if head.closes { "Connection: close\r\n" } else { "" };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nX-Instance: {instance}\r\n{connection_header}\r\n{answered}",
            body.len(),
        );
        (&*connection).write_all(answer.as_bytes())?;
        if head.closes {
            break;
        }
    }
    Ok(())
}

/// What must be known of a request to answer it and find the next one.
struct Head {
    method: String,
    body_length: u64,
    closes: bool,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> IoResult<Option<Self>> {
        let mut lines = reader.take(HEAD_MAX);
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut head = Self {
            method: words.first().copied().unwrap_or_default().to_owned(),
            body_length: 0,
            closes: words.last() != Some(&"HTTP/1.1"),
        };
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if line.trim_end().is_empty() {
                return Ok(Some(head));
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.body_length = value.parse().unwrap_or(0),
                "connection" => head.closes |= value.eq_ignore_ascii_case("close"),
                // A body in chunks isn't understood: answer, then close.
                "transfer-encoding" => head.closes = true,
                _ => {}
            }
        }
    }
}
