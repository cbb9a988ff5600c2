//! Routes from files, which are read again while the edge runs.

use std::sync::Arc;
use std::time::Duration;

use logic::routes::Overrides;
use ports::World;

use crate::published::Publisher;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads route commands and the page for no route; an error says which file is missing.
pub(in crate::edge) fn read_files(
    world: &World,
    path: &str,
    no_route_path: &str,
) -> Result<Overrides, String> {
    let text = |path: &str| {
        let bytes = world.machine.file(path)?;
        String::from_utf8(bytes).map_err(|_| format!("{path}: it isn't text"))
    };
    Ok(Overrides {
        commands: text(path)?,
        no_route_page: if no_route_path.is_empty() {
            String::new()
        } else {
            text(no_route_path)?
        },
    })
}

/// Publishes what the files say, for ever; while they can't be read, what they said last stays.
pub(in crate::edge) async fn follow_files(
    world: World,
    path: String,
    no_route_path: String,
    mut known: Overrides,
    published: Publisher<Arc<Overrides>>,
) {
    let mut told = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match read_files(&world, &path, &no_route_path) {
            Ok(read) => {
                told = None;
                if read != known {
                    known = read.clone();
                    published.send_replace(Arc::new(read));
                }
            }
            Err(why) => {
                if told.as_ref() != Some(&why) {
                    tracing::warn!(why, "routes can't be read again: the last known stay");
                }
                told = Some(why);
            }
        }
    }
}
