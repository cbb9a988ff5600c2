//! Three hosts on one machine: each has a network, mounts, a name and processes of its own, and a
//! Docker Engine. Nothing of them outlives the test's thread, however it ends.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) const NAMES: [&str; 3] = ["dxnode1", "dxnode2", "dxnode3"];
pub(crate) const ADDRESSES: [&str; 3] = ["172.16.66.102", "172.16.66.103", "172.16.66.104"];
/// The bridge's own address: where the registry is.
const SWITCH: &str = "172.16.66.1";
const REGISTRY: &str = "172.16.66.1:5000";

/// No command of the walk-through takes longer.
const COMMAND_SECONDS: u32 = 150;
const ENGINE_PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a command printed, standard error too, and its exit code.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) code: i32,
}

/// A process whose namespaces are a host: what runs in them ends with it.
struct Holder {
    outside: Child,
    /// The first process inside, as seen from here.
    pid: u32,
}

impl Holder {
    /// `script` sets the host up, inside.
    fn new(script: &str) -> Self {
        // The first process has to wait for those that lose their parents.
        let held = format!("ip link set lo up && {script} && echo held && sleep infinity & wait");
        let alone = "--pdeathsig KILL unshare --net --mount --uts --pid --fork --kill-child";
        let mut outside = Command::new("setpriv")
            .args(alone.split(' '))
            .args(["--mount-proc", "sh", "-c", &held])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv and unshare can be run");
        let mut line = String::new();
        let said = outside.stdout.take().expect("its output");
        BufReader::new(said).read_line(&mut line).expect("readable");
        assert_eq!(line, "held\n", "no namespaces could be made");
        let children = format!("/proc/{0}/task/{0}/children", outside.id());
        let inside = fs::read_to_string(children).expect("the process inside");
        let pid = inside.trim().parse().expect("one process inside");
        Self { outside, pid }
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.pid.to_string();
        command
            .args(["--target", &target, "--net", "--mount", "--uts", "--pid"])
            .env("HOME", "/root")
            .stdin(Stdio::null());
        for name in ["NOMAD_ADDR", "CONSUL_HTTP_ADDR", "DOCKER_HOST"] {
            command.env_remove(name);
        }
        command
    }

    fn command(&self, script: &str) -> Command {
        let mut command = self.enter();
        let seconds = COMMAND_SECONDS.to_string();
        command.args(["timeout", "--kill-after=5", &seconds, "sh", "-c", script]);
        command
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.outside.kill().ok();
        self.outside.wait().ok();
    }
}

/// One of the three.
pub(crate) struct Host {
    pub(crate) name: &'static str,
    folder: PathBuf,
    path: String,
    holder: Holder,
}

impl Host {
    fn new(world: &Path, index: usize) -> Self {
        let name = NAMES[index];
        let folder = world.join(name);
        for below in [
            "root/.bin/consul-install",
            "root/.bin/nomad-install",
            "docker",
        ] {
            fs::create_dir_all(folder.join(below)).expect("a folder for the host");
        }
        let known = ADDRESSES.iter().zip(NAMES);
        let known: Vec<_> = known
            .map(|(address, name)| format!("{address} {name}\n"))
            .collect();
        let hosts = format!(
            "127.0.0.1 localhost {}\n{}",
            SITES.join(" "),
            known.concat()
        );
        fs::write(folder.join("hosts"), hosts).expect("written");
        // As the text sets it up: two of the Consuls.
        let resolv = format!("nameserver {}\nnameserver {}\n", ADDRESSES[0], ADDRESSES[1]);
        fs::write(folder.join("resolv.conf"), resolv).expect("written");
        let at = folder.display();
        let script = format!(
            "hostname {name} && mount -t tmpfs tmpfs /run && mkdir -p /var/lib/docker && \
             mount --bind {at}/docker /var/lib/docker && mount --bind {at}/root /root && \
             mount --bind {at}/hosts /etc/hosts && \
             mount --bind {at}/resolv.conf /etc/resolv.conf"
        );
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", world.join("bin").display());
        let holder = Holder::new(&script);
        Self {
            name,
            folder,
            path,
            holder,
        }
    }

    /// Connects the host with the bridge, which is in another network.
    fn plug(&self, switch: &Holder, index: usize) {
        let (cable, address) = (format!("cable{index}"), ADDRESSES[index]);
        let pid = self.holder.pid;
        // From outside, where the host's process has the number that is given.
        let outside = |script: &str| {
            let mut command = Command::new("nsenter");
            command.args([
                "--target",
                &switch.pid.to_string(),
                "--net",
                "sh",
                "-ec",
                script,
            ]);
            let done = command.status().expect("nsenter can be run");
            assert!(done.success(), "{script}");
        };
        outside(&format!(
            "ip link add {cable} type veth peer name eth0 netns {pid}
             ip link set {cable} master br0 up"
        ));
        let said = self.shell(&format!(
            "ip link set eth0 up && ip address add {address}/24 dev eth0 && \
             ip route add default via {SWITCH}"
        ));
        assert_eq!(said.code, 0, "{}", said.text);
    }

    fn command(&self, script: &str) -> Command {
        let mut command = self.holder.command(&format!("cd ~ && {script}"));
        command.env("PATH", &self.path).env("NO_COLOR", "1");
        command
    }

    /// Runs a command as somebody who is logged in as root.
    pub(crate) fn shell(&self, script: &str) -> Said {
        let both = format!("{{ {script}\n}} 2>&1");
        let output = self.command(&both).output().expect("nsenter can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Said {
            text,
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// The same, and it has to succeed.
    pub(crate) fn must(&self, script: &str) -> String {
        let said = self.shell(script);
        assert_eq!(said.code, 0, "{}: `{script}`: {}", self.name, said.text);
        said.text
    }

    /// Starts something that goes on; a shell that has an `&` of its own gives it back.
    pub(crate) fn background(&self, script: &str) {
        let apart = format!("( {script}\n) >/dev/null 2>&1 </dev/null");
        let done = self.command(&apart).status().expect("nsenter can be run");
        assert!(done.success(), "{}: `{script}`", self.name);
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Where programs outside find the host's engine.
    pub(crate) fn engine(&self) -> String {
        format!("unix://{}", self.folder.join("docker.sock").display())
    }

    fn start_engine(&self) {
        let log = self.folder.join("dockerd.log");
        self.background(&format!(
            "setsid dockerd --host=unix:///var/run/docker.sock --host={} \
             --registry-mirror=http://{REGISTRY} --insecure-registry={REGISTRY} >{} 2>&1 &",
            self.engine(),
            log.display(),
        ));
    }

    fn wait_for_engine(&self) {
        let until = Instant::now() + ENGINE_PATIENCE;
        while self.shell("docker info").code != 0 {
            let log = fs::read_to_string(self.folder.join("dockerd.log")).unwrap_or_default();
            assert!(Instant::now() < until, "{}: no engine: {log}", self.name);
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// What the text has `/etc/hosts` say.
const SITES: [&str; 4] = [
    "mysite.com",
    "mysite-https.com",
    "mysite-sni-1.com",
    "mysite-sni-2.com",
];

/// The hosts, their bridge, and the registry beside it.
pub(crate) struct Hosts {
    // Dropped first: the folder is empty of mounts then.
    pub(crate) all: Vec<Host>,
    switch: Holder,
    folder: Option<TempDir>,
}

impl Hosts {
    /// Hosts whose engines run; `binary` is all three programs.
    pub(crate) fn new(binary: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("walkthrough-").tempdir();
        let folder = folder.expect("a temporary folder");
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).expect("a folder");
        // The programs stay the same although others may be built meanwhile.
        fs::copy(binary, bin.join("drover")).expect("a copy");
        for name in ["consul", "nomad", "fabio"] {
            std::os::unix::fs::symlink("drover", bin.join(name)).expect("a link");
        }
        let switch = Holder::new(&format!(
            "ip link add br0 type bridge && ip link set br0 up && \
             ip address add {SWITCH}/24 dev br0"
        ));
        let hosts: Vec<_> = (0..NAMES.len())
            .map(|index| Host::new(folder.path(), index))
            .collect();
        for (index, host) in hosts.iter().enumerate() {
            host.plug(&switch, index);
            host.start_engine();
        }
        hosts.iter().for_each(Host::wait_for_engine);
        Self {
            all: hosts,
            switch,
            folder: Some(folder),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder
            .as_ref()
            .expect("it is kept until the end")
            .path()
    }

    /// What the agents and engines wrote stays to be looked at.
    pub(crate) fn keep(&mut self) -> PathBuf {
        self.folder.take().expect("it is kept until the end").keep()
    }

    /// Tells how to look around by hand, and goes on when the given file is gone.
    pub(crate) fn hold(&self) {
        let file = self.folder().join("hold");
        fs::write(&file, "").expect("written");
        for host in &self.all {
            let (pid, path) = (host.holder.pid, &host.path);
            println!(
                "{}: nsenter -a -t {pid} env HOME=/root PATH={path} sh",
                host.name
            );
        }
        println!("remove {} to go on", file.display());
        while file.exists() {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Starts a registry that the engines ask first; false where there is none to start.
    pub(crate) fn start_registry(&self) -> bool {
        let at = self.folder().join("registry");
        fs::create_dir(&at).expect("a folder");
        let config = at.join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {REGISTRY}\n",
            at.display(),
        );
        fs::write(&config, text).expect("written");
        let log = File::create(at.join("log")).expect("a log");
        let mut command = self.switch.enter();
        command.args(["docker-registry", "serve"]).arg(&config);
        let errors = log.try_clone().expect("the same file");
        let Ok(mut registry) = command.stdout(log).stderr(errors).spawn() else {
            return false;
        };
        let until = Instant::now() + ENGINE_PATIENCE;
        loop {
            let asked = self.all[0].shell(&format!("curl -sf http://{REGISTRY}/v2/"));
            if asked.code == 0 {
                return true;
            }
            if registry.try_wait().ok().flatten().is_some() || Instant::now() > until {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Moves an image of the first host to where all hosts can get it.
    pub(crate) fn publish(&self, tag: &str, with_registry: bool) {
        if with_registry {
            let official = if tag.contains('/') { "" } else { "library/" };
            let there = format!("{REGISTRY}/{official}{tag}");
            self.all[0].must(&format!(
                "docker tag {tag} {there} && docker push -q {there} && docker rmi {tag} {there}"
            ));
            return;
        }
        let file = self.folder().join("image.tar");
        let file = file.display();
        self.all[0].must(&format!("docker save --output {file} {tag}"));
        for host in &self.all[1..] {
            host.must(&format!("docker load --quiet --input {file}"));
        }
    }
}
