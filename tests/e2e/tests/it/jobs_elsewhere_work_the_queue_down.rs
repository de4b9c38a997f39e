//! The bulk queue is left to jobs: the files in `stages/fetch-pr/deploy/` are read, and what they run is
//! run as they say, against the queue of a mirror that fetches nothing but realtime work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use github_sim::{Config, Effect, Fault, Generate, Sim};
use prmirror_e2e::{Deployment, Mirror, QUICK, eventually, to_the_end, workspace};
use yaml_rust2::{Yaml, YamlLoader};

const LIMIT: Duration = Duration::from_secs(120);

/// How many pull requests there are.
const ALL: u64 = 40;

fn deploy(file: &str) -> String {
    let path = workspace().join("stages/fetch-pr/deploy").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A step of the workflow that runs something.
struct Step {
    run: String,
    env: BTreeMap<String, String>,
}

/// The steps of the workflow's only job that run something.
fn steps() -> Vec<Step> {
    let mut documents = YamlLoader::load_from_str(&deploy("github-actions.yml")).unwrap();
    assert_eq!(documents.len(), 1);
    let workflow = documents.remove(0);
    for key in ["name", "on", "jobs"] {
        assert!(!workflow[key].is_badvalue(), "{key}");
    }
    let cron = &workflow["on"]["schedule"][0]["cron"];
    assert_eq!(cron.as_str().unwrap().split_whitespace().count(), 5);
    let jobs = workflow["jobs"].as_hash().unwrap();
    let (_, job) = jobs.iter().next().unwrap();
    assert_eq!(jobs.len(), 1);
    assert!(job["runs-on"].as_str().is_some());
    let steps = job["steps"].as_vec().unwrap();
    let runs = steps.iter().filter_map(|step| {
        let env = step["env"].as_hash().into_iter().flatten();
        let text = |yaml: &Yaml| yaml.as_str().unwrap().to_owned();
        Some(Step {
            run: step["run"].as_str()?.to_owned(),
            env: env.map(|(name, value)| (text(name), text(value))).collect(),
        })
    });
    runs.collect()
}

/// The sections of a unit file: `name=value` lines, of which a name may have several.
fn unit(text: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let mut sections: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut section = None;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            let name = name.strip_suffix(']').unwrap();
            section = Some(sections.entry(name.to_owned()).or_default());
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
        let entry = (name.trim().to_owned(), value.trim().to_owned());
        section.as_mut().unwrap().push(entry);
    }
    sections
}

fn values<'u>(unit: &'u BTreeMap<String, Vec<(String, String)>>, name: &str) -> Vec<&'u str> {
    let all = unit.values().flatten();
    all.filter(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
        .collect()
}

/// A machine on which a job runs: the folders that the files name are below its own.
struct Machine<'s> {
    deployment: &'s Deployment,
    sim: &'s Sim,
    root: PathBuf,
    nats: String,
}

impl Machine<'_> {
    fn put(&self, path: &str) -> PathBuf {
        let path = self.root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn secret(&self, name: &str) -> &str {
        match name {
            "PRMIRROR_TOKEN" => self.sim.token(),
            "NATS_URL" => &self.nats,
            other => panic!("the workflow wants a secret that nobody is told of: {other}"),
        }
    }

    /// Runs something with nothing of the deployment in its environment.
    fn run(&self, mut command: Command, env: &BTreeMap<String, String>, patience: &str) -> Output {
        self.deployment.surround(&mut command);
        command
            .env_remove("GITHUB_TOKEN")
            .env_remove("PRMIRROR_DATA")
            .current_dir(&self.root)
            // As on a runner.
            .env("GITHUB_API_URL", self.sim.url())
            .env("PRMIRROR_DRAIN_PATIENCE", patience)
            .envs(env);
        to_the_end(&mut command, LIMIT)
    }

    /// The workflow's steps, from a checkout whose build is this one.
    fn workflow(&self, patience: &str) -> Output {
        let [build, work] = &steps()[..] else {
            panic!("the workflow builds, and works the queue down");
        };
        // What is built is what is run.
        let built = Path::new("target/debug/fetch-pr");
        assert!(
            work.run.starts_with(&built.display().to_string()),
            "{}",
            work.run
        );
        assert!(build.run.starts_with("cargo build"), "{}", build.run);
        assert!(build.run.contains("--package fetch-pr"), "{}", build.run);
        assert!(!build.run.contains("--release"), "{}", build.run);
        self.link(&built.display().to_string());
        self.configure("pipeline.toml");
        let env = work.env.iter().map(|(name, value)| {
            let secret = value
                .strip_prefix("${{ secrets.")
                .and_then(|rest| rest.strip_suffix(" }}"))
                .unwrap_or_else(|| panic!("{value}"));
            (name.clone(), self.secret(secret).to_owned())
        });
        // As GitHub runs a step.
        let mut command = Command::new("bash");
        command.args(["-e", "-c", &work.run]);
        self.run(command, &env.collect(), patience)
    }

    /// The unit, as systemd runs it.
    fn service(&self, patience: &str) -> (Output, Vec<i32>) {
        let unit = unit(&deploy("prmirror-fetch-bulk.service"));
        assert_eq!(values(&unit, "Type"), ["oneshot"]);
        let [start] = values(&unit, "ExecStart")[..] else {
            panic!("one command");
        };
        let mut env = BTreeMap::new();
        for file in values(&unit, "EnvironmentFile") {
            let path = self.put(file);
            let told = format!(
                "GITHUB_TOKEN={}\nNATS_URL={}\n",
                self.sim.token(),
                self.nats
            );
            std::fs::write(&path, told).unwrap();
            let text = std::fs::read_to_string(path).unwrap();
            let lines = text.lines().map(|line| line.split_once('=').unwrap());
            env.extend(lines.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let here = |text: &str| {
            if text.starts_with('/') {
                self.put(text).display().to_string()
            } else {
                text.to_owned()
            }
        };
        for setting in values(&unit, "Environment") {
            let (name, value) = setting.split_once('=').unwrap();
            env.insert(name.to_owned(), here(value));
        }
        let words: Vec<&str> = start.split_whitespace().collect();
        self.link(words[0]);
        let config = words.iter().position(|word| *word == "--config").unwrap();
        self.configure(words[config + 1]);
        let mut command = Command::new(here(words[0]));
        command.args(words[1..].iter().map(|word| here(word)));
        let codes = values(&unit, "SuccessExitStatus");
        let codes = codes.iter().flat_map(|line| line.split_whitespace());
        let codes = codes.map(|code| code.parse().unwrap()).collect();
        (self.run(command, &env, patience), codes)
    }

    fn link(&self, path: &str) {
        let link = self.put(path);
        if !link.exists() {
            let program = self.deployment.program("fetch-pr", &[]);
            std::os::unix::fs::symlink(program.get_program(), link).unwrap();
        }
    }

    /// The configuration of the mirror, which both have.
    fn configure(&self, path: &str) {
        let pipeline = self.deployment.path().join("pipeline.toml");
        std::fs::copy(pipeline, self.put(path)).unwrap();
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_workflow_and_the_unit_drain_the_bulk_lane_and_say_what_is_left() {
    let sim = Sim::start(Config::generated(Generate::new(ALL, 5))).unwrap();
    let repository = sim.repositories().remove(0);
    let (owner, name) = repository.split_once('/').unwrap();
    let quick = QUICK.replace("[fetch]\n", "[fetch]\nlanes = [\"realtime\"]\n");
    assert_ne!(quick, QUICK);
    // What is found later is for those who are here.
    let quick = format!("{quick}[routing]\nbulk_share = 0\n");
    let deployment = Deployment::of(&sim, &quick);
    let mirror = Mirror {
        sim: &sim,
        deployment: &deployment,
        owner,
        name,
    };
    // One does not come.
    let fault = Fault::new(Effect::PullRequestFailed).number(7);
    sim.faults().add(fault.operation("PullRequests"));
    let mut up = deployment.up(&[]);
    let all = sim.pull_requests() as u64;
    let under_way = || {
        deployment.count(
            "SELECT coalesce(sum(pull_requests), 0)::BIGINT AS n FROM backfill_chunk_times
             WHERE status = 'processing'",
        )
    };
    eventually("everything is handed on", LIMIT, || {
        under_way().filter(|waiting| *waiting == all)
    });
    // Nobody here fetches it, but for what a poll may see as new.
    assert!(mirror.landed().is_some_and(|landed| landed < all / 4));

    let machine = Machine {
        deployment: &deployment,
        sim: &sim,
        root: deployment.path().join("machine"),
        nats: deployment.broker_url(),
    };
    // The job ends, says that one is left, and has fetched all others.
    let output = machine.workflow("6s");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(
        said(&output).contains("1 requests are left"),
        "{}",
        said(&output)
    );
    eventually("the others have landed", LIMIT, || {
        mirror.landed().filter(|landed| *landed == all - 1)
    });

    // It comes again: the next run, by systemd, finishes the work.
    sim.faults().clear();
    let (output, fine) = machine.service("60s");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(fine, [3], "what is left is no failure of the machine");
    eventually("it has landed", LIMIT, || {
        mirror.landed().filter(|landed| *landed == all)
    });
    // And with nothing to do both end at once.
    assert_eq!(machine.workflow("60s").status.code(), Some(0));
    assert_eq!(machine.service("60s").0.status.code(), Some(0));

    mirror.settle(&mut up, LIMIT);
    up.terminate();
    let status = up.wait(LIMIT);
    deployment.ended(&up, status, LIMIT).assert_code(0);
    mirror.compare().assert_equal();
}

#[test]
fn the_timer_starts_the_unit() {
    let timer = unit(&deploy("prmirror-fetch-bulk.timer"));
    assert_eq!(values(&timer, "WantedBy"), ["timers.target"]);
    assert!(!values(&timer, "OnBootSec").is_empty());
    assert!(!values(&timer, "OnUnitInactiveSec").is_empty());
    // A timer starts the unit of its own name.
    assert!(values(&timer, "Unit").is_empty());
    let service = unit(&deploy("prmirror-fetch-bulk.service"));
    for section in ["Unit", "Service"] {
        assert!(service.contains_key(section), "{section}");
    }
    // systemd's own word on both, where there is one.
    let folder = workspace().join("stages/fetch-pr/deploy");
    let verify = |file: &str| {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no"]).arg(folder.join(file));
        command.output().ok()
    };
    for file in ["prmirror-fetch-bulk.service", "prmirror-fetch-bulk.timer"] {
        let Some(output) = verify(file) else {
            return;
        };
        let complaints: Vec<String> = said(&output)
            .lines()
            // The program is not installed here.
            .filter(|line| line.contains("prmirror-fetch-bulk") && !line.contains("not executable"))
            .map(str::to_owned)
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}
