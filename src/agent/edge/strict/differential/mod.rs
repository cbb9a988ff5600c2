//! The same bytes from a client, and from an upstream, with and without the plain requests'
//! own way: what the other side gets must mean the same.

mod told;
mod world;

use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{LocalSet, spawn_local, yield_now};

use self::told::{Told, has_surplus, is_wrong, requests_told};
#[cfg(test)]
pub(crate) use self::world::Still;
use self::world::{Script, Way, worker};

/// Where the client's bytes end and the upstream's begin.
const BORDER: &[u8] = b"\n====\n";

/// So many turns of everybody without a byte for the client, and as many as the upstream needs:
/// nothing more will come.
const QUIET_TURNS: usize = 40;

/// What a connection came to.
pub(super) struct Outcome {
    /// The requests that upstreams got, in that order.
    pub(super) asked: Vec<Vec<u8>>,
    /// Everything that the client got.
    got: Vec<u8>,
    /// Whether its connection was closed.
    closed: bool,
}

/// The first byte says how both sides behave, and whether there is a route at all, then come the
/// client's bytes, the border, and the upstream's, which are its answer to each request.
pub fn exchanges(data: &[u8]) {
    compare(data);
}

pub(super) fn compare(data: &[u8]) -> Outcome {
    let (kind, data) = data.split_first().unwrap_or((&0, data));
    let border = data.windows(BORDER.len()).position(|at| at == BORDER);
    let (sent, answer) = match border {
        Some(at) => (&data[..at], &data[at + BORDER.len()..]),
        None => (data, &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..]),
    };
    // hyper may wait for the end of a head that is wrong already.
    let sent = &[sent, b"\r\n\r\n"].concat();
    let end: &[u8] = if is_wrong(answer) { b"\r\n\r\n" } else { b"" };
    let answer = &[answer, end].concat();
    let surplus = has_surplus(answer, false)
        || (sent.windows(5).any(|at| at == b"HEAD ") && has_surplus(answer, true));
    let script = Script {
        answer: answer.clone(),
        closes: kind & 1 != 0,
        by_pieces: kind & 2 != 0 && !surplus,
    };
    let piece = if kind & 4 != 0 { 7 } else { usize::MAX };
    let run = |hyper_only| {
        let way = Way {
            hyper_only,
            routed: kind & 8 == 0,
        };
        run(sent, piece, script.clone(), way)
    };
    let (own, hypers) = (run(false), run(true));
    let shown = || {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        format!(
            "own got   {}\nhyper got {}\nown asked   {:?}\nhyper asked {:?}",
            text(&own.got),
            text(&hypers.got),
            own.asked.iter().map(|a| text(a)).collect::<Vec<_>>(),
            hypers.asked.iter().map(|a| text(a)).collect::<Vec<_>>(),
        )
    };
    let told = |outcome: &Outcome| Told::read(&outcome.got, sent, outcome.closed);
    let (ours, theirs) = (told(&own), told(&hypers));
    // A request that hyper has lost to a connection that was being closed may be saved by us.
    if theirs.failures() > ours.failures() && kind & 1 != 0 {
        return own;
    }
    let (asked, their_asked) = (requests_told(&own.asked), requests_told(&hypers.asked));
    if ours.outlasts(&theirs) {
        assert!(asked.starts_with(&their_asked), "{}", shown());
    } else {
        let agree = ours.agrees_with(&theirs);
        assert!(agree, "{ours:?}\n{theirs:?}\n{}", shown());
        assert_eq!(asked, their_asked, "{}", shown());
    }
    own
}

/// Plays one connection to its end.
fn run(sent: &[u8], piece: usize, script: Script, way: Way) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let patience = QUIET_TURNS + script.answer.len();
    let Ok(runtime) = runtime else {
        panic!("a runtime needs nothing that isn't there")
    };
    LocalSet::new().block_on(&runtime, async {
        let (worker, asked) = worker(script, way);
        let (mut client, edge) = tokio::io::duplex(1 << 20);
        let serving = spawn_local(Rc::clone(&worker).play(Box::new(edge)));
        let (mut got, mut closed) = (Vec::new(), false);
        let mut pieces = sent.chunks(piece.max(1));
        let mut quiet = 0;
        while quiet < patience && !closed {
            if let Some(piece) = pieces.next() {
                // The edge may have closed.
                let _ = client.write_all(piece).await;
                quiet = 0;
            }
            quiet += 1;
            yield_now().await;
            let mut buffer = [0; 4096];
            tokio::select! {
                biased;
                read = client.read(&mut buffer) => {
                    let length = read.unwrap_or_default();
                    got.extend_from_slice(&buffer[..length]);
                    closed = length == 0;
                    quiet = 0;
                }
                () = std::future::ready(()) => {}
            }
        }
        serving.abort();
        let asked = asked.lock().map(|asked| asked.clone());
        Outcome {
            asked: asked.unwrap_or_default(),
            got,
            closed,
        }
    })
}
