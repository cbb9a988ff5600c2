//! Those who follow the agent's log over its API: each gets the lines of its level, whatever the
//! log itself shows. Nobody costs nothing.

use std::io::{Result as IoResult, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent::wishes::Follow;
use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Sets what is to be written for followers: lines of this level, or none.
type Adjust = Box<dyn Fn(Option<&str>) + Send + Sync>;

/// Those who want lines for people, or in JSON.
#[derive(Clone, Default)]
pub(super) struct Followers(Arc<Mutex<Following>>);

#[derive(Default)]
struct Following {
    all: Vec<Follower>,
    adjust: Option<Adjust>,
}

struct Follower {
    level: Level,
    lines: tokio::sync::mpsc::Sender<Bytes>,
    /// Lines it was too slow for.
    left_out: u64,
}

impl Following {
    /// The most that anybody wants.
    fn settle(&self) {
        let level = self.all.iter().map(|follower| follower.level).max();
        let level = level.map(|level| level.to_string().to_lowercase());
        if let Some(adjust) = &self.adjust {
            adjust(level.as_deref());
        }
    }
}

impl Followers {
    fn lock(&self) -> MutexGuard<'_, Following> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn adjust_by(&self, adjust: impl Fn(Option<&str>) + Send + Sync + 'static) {
        self.lock().adjust = Some(Box::new(adjust));
    }

    /// One more, until it doesn't listen any more.
    pub(super) fn add(&self, follow: &Follow) {
        let level = follow.level.parse().unwrap_or(Level::INFO);
        let lines = follow.lines.clone();
        {
            let mut following = self.lock();
            following.all.push(Follower {
                level,
                lines: lines.clone(),
                left_out: 0,
            });
            following.settle();
        }
        let followers = self.clone();
        tokio::task::spawn_local(async move {
            lines.closed().await;
            let mut following = followers.lock();
            following.all.retain(|follower| !follower.lines.is_closed());
            following.settle();
        });
    }

    fn line(&self, level: Level) -> Line {
        Line {
            followers: self.clone(),
            level,
            text: Vec::new(),
        }
    }

    fn tell(&self, level: Level, line: &Bytes) {
        for follower in &mut self.lock().all {
            if level <= follower.level {
                follower.tell(line);
            }
        }
    }
}

impl Follower {
    fn tell(&mut self, line: &Bytes) {
        if self.left_out > 0 {
            let text = format!("[{} lines are left out here]\n", self.left_out);
            if self.lines.try_send(text.into()).is_ok() {
                self.left_out = 0;
            }
        }
        // One that has left is taken off the list elsewhere.
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line.clone()) {
            self.left_out += 1;
        }
    }
}

/// A line on its way to followers.
pub(super) struct Line {
    followers: Followers,
    level: Level,
    text: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        self.text.write(bytes)
    }

    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = Bytes::from(std::mem::take(&mut self.text));
        if !line.is_empty() {
            self.followers.tell(self.level, &line);
        }
    }
}

impl MakeWriter<'_> for Followers {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        self.line(Level::ERROR)
    }

    fn make_writer_for(&self, about: &Metadata<'_>) -> Line {
        self.line(*about.level())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn line(followers: &Followers, level: Level, text: &str) {
        let mut line = followers.line(level);
        line.write_all(text.as_bytes()).expect("kept");
    }

    #[tokio::test]
    async fn each_gets_its_levels_lines_and_is_told_what_it_missed() {
        let local = tokio::task::LocalSet::new();
        local.run_until(follow()).await;
    }

    async fn follow() {
        let followers = Followers::default();
        let levels = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&levels);
        followers.adjust_by(move |level| {
            let mut noted = noted.lock().expect("no panic");
            noted.push(level.map(str::to_owned));
        });
        let (lines, mut told) = mpsc::channel(2);
        followers.add(&Follow {
            level: "info".to_owned(),
            json: false,
            lines,
        });
        line(&followers, Level::DEBUG, "too much\n");
        for text in ["1\n", "2\n", "3\n", "4\n"] {
            line(&followers, Level::INFO, text);
        }
        assert_eq!(told.recv().await.as_deref(), Some(&b"1\n"[..]));
        assert_eq!(told.recv().await.as_deref(), Some(&b"2\n"[..]));
        line(&followers, Level::ERROR, "5\n");
        let left_out = told.recv().await.expect("a line");
        assert_eq!(left_out, "[2 lines are left out here]\n");
        assert_eq!(told.recv().await.as_deref(), Some(&b"5\n"[..]));
        drop(told);
        while !followers.lock().all.is_empty() {
            tokio::task::yield_now().await;
        }
        let levels = levels.lock().expect("no panic").clone();
        assert_eq!(levels, [Some("info".to_owned()), None]);
    }
}
