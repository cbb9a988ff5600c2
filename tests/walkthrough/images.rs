//! The images the text pulls: the demo services, and what stands in for fabio's and busybox's.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::hosts::Hosts;
use crate::repository;

const DEMO: [&str; 3] = [
    "bigwhite/httpbackendservice:v1.0.0",
    "bigwhite/httpsbackendservice:v1.0.0",
    "bigwhite/httpsbackendservice:v1.0.1",
];
const FABIO: &str = "fabiolb/fabio:latest";
pub(crate) const BUSYBOX: &str = "busybox:latest";

/// Has every image where the engines find it. What couldn't be had is said.
pub(crate) fn provide(hosts: &Hosts) -> Vec<String> {
    let mut notes = Vec::new();
    let with_registry = hosts.start_registry();
    if !with_registry {
        notes.push("no docker-registry: images are loaded, nothing is pulled".to_owned());
    }
    let built = Command::new(repository().join("examples/images/build.sh"))
        .env("DOCKER_HOST", hosts.all[0].engine())
        .output()
        .expect("build.sh can be run");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    import_fabio(hosts);
    let mut tags = DEMO.to_vec();
    tags.push(FABIO);
    if import_busybox(hosts) {
        tags.push(BUSYBOX);
    } else {
        notes.push("no static busybox: nothing is asked from a container".to_owned());
    }
    for tag in tags {
        hosts.publish(tag, with_registry);
    }
    notes
}

/// fabio's image holds this program under that name, and the libraries it was linked with.
fn import_fabio(hosts: &Hosts) {
    let binary = hosts.folder().join("bin/drover");
    let root = hosts.folder().join("fabio");
    fs::create_dir_all(root.join("usr/bin")).expect("a folder");
    fs::copy(&binary, root.join("usr/bin/fabio")).expect("a copy");
    let linked = Command::new("ldd")
        .arg(&binary)
        .output()
        .expect("ldd can be run");
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    for library in linked
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        let into = root.join(&library[1..]);
        fs::create_dir_all(into.parent().expect("a folder")).expect("a folder");
        fs::copy(library, into).expect("a copy");
    }
    import(hosts, &root, r#"ENTRYPOINT ["/usr/bin/fabio"]"#, FABIO);
}

fn import_busybox(hosts: &Hosts) -> bool {
    let root = hosts.folder().join("busybox");
    fs::create_dir_all(root.join("bin")).expect("a folder");
    let found = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| {
            let linked = Command::new("ldd").arg(path).output();
            Path::new(path).exists() && linked.is_ok_and(|linked| !linked.status.success())
        });
    let Some(binary) = found else {
        return false;
    };
    fs::copy(binary, root.join("bin/busybox")).expect("a copy");
    for name in ["sh", "ping", "sleep", "wget", "nslookup", "cat"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("a link");
    }
    import(hosts, &root, r#"CMD ["sh"]"#, BUSYBOX);
    true
}

fn import(hosts: &Hosts, root: &Path, change: &str, tag: &str) {
    let root = root.display();
    hosts.all[0].must(&format!(
        "tar --create --directory {root} --owner=0 --group=0 . | \
         docker import --change '{change}' - {tag}"
    ));
}
