//! Programs that are started when a set has come or gone.
//!
//! They are started directly, no shell reads anything, by a thread of their own: nothing that they
//! do delays a takeover. Each set has a queue, so its programs run one at a time and in order; what
//! was overtaken while it waited is left out, the last one always runs. A program that takes too
//! long is killed with its whole process group. It gets no capabilities, no input, and its output
//! goes nowhere.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Bound: programs at a time.
const RUNNING_MAX: usize = 8;

/// Bound: of a set's queue; in the middle of it pairs of coming and going cancel out.
const QUEUE_MAX: usize = 4;

/// Bound: results that nobody has taken yet.
const RESULTS_MAX: usize = 1000;

/// How often running programs are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A program to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The set that it is about: jobs of one set run in order.
    pub set: usize,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// How long it may run.
    pub timeout: Duration,
}

/// What has become of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The set that it was about.
    pub set: usize,
    /// What went wrong; none if nothing did.
    pub wrong: Option<String>,
}

/// The queues, and the thread that serves them.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<usize, VecDeque<Job>>,
    outcomes: VecDeque<Outcome>,
}

#[derive(Debug)]
struct Running {
    job: Job,
    child: Child,
    deadline: Instant,
}

impl Hooks {
    /// Queues, and a thread that starts what is put there.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start() -> std::io::Result<Hooks> {
        let hooks = Hooks::default();
        let served = hooks.clone();
        thread::Builder::new()
            .name("hooks".into())
            .spawn(move || served.serve())?;
        Ok(hooks)
    }

    /// Puts a job at the end of its set's queue; what was overtaken is left out.
    pub fn put(&self, job: Job) {
        let (_, woken) = &*self.shared;
        let mut state = self.lock();
        let queue = state.waiting.entry(job.set).or_default();
        if queue.len() == QUEUE_MAX {
            // Two that follow each other have come and gone again.
            queue.drain(QUEUE_MAX - 2..);
        }
        queue.push_back(job);
        woken.notify_one();
    }

    /// What has become of the programs that have ended since.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.lock().outcomes.drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics with the lock held; if something did, the queues are still whole.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut running: Vec<Running> = Vec::new();
        loop {
            let ready = {
                let (_, woken) = &*self.shared;
                let state = self.lock();
                let mut state = match running.is_empty() {
                    true => woken.wait_while(state, |state| state.waiting.is_empty()),
                    false => woken
                        .wait_timeout(state, LOOK_INTERVAL)
                        .map(|(state, _)| state)
                        .map_err(|error| PoisonError::new(error.into_inner().0)),
                }
                .unwrap_or_else(PoisonError::into_inner);
                state.ready(&running)
            };
            for job in ready {
                match start(&job) {
                    Ok(child) => {
                        let deadline = Instant::now() + job.timeout;
                        running.push(Running {
                            job,
                            child,
                            deadline,
                        });
                    }
                    Err(error) => self.report(job.set, Some(format!("not started: {error}"))),
                }
            }
            running.retain_mut(|one| match one.look(Instant::now()) {
                None => true,
                Some(wrong) => {
                    self.report(one.job.set, wrong);
                    false
                }
            });
        }
    }

    fn report(&self, set: usize, wrong: Option<String>) {
        let mut state = self.lock();
        if state.outcomes.len() < RESULTS_MAX {
            state.outcomes.push_back(Outcome { set, wrong });
        }
    }
}

impl State {
    /// Takes jobs that can run now: of sets without a running one, while there is room.
    fn ready(&mut self, running: &[Running]) -> Vec<Job> {
        let mut ready = Vec::new();
        let room = RUNNING_MAX.saturating_sub(running.len());
        for (set, queue) in &mut self.waiting {
            if ready.len() == room {
                break;
            }
            if running.iter().all(|one| one.job.set != *set) {
                ready.extend(queue.pop_front());
            }
        }
        self.waiting.retain(|_, queue| !queue.is_empty());
        ready
    }
}

impl Running {
    /// None while it runs; else what went wrong, if anything did.
    fn look(&mut self, now: Instant) -> Option<Option<String>> {
        match self.child.try_wait() {
            Ok(Some(status)) if status.success() => Some(None),
            Ok(Some(status)) => Some(Some(status.to_string())),
            Ok(None) if now < self.deadline => None,
            Ok(None) => {
                if let Ok(group) = i32::try_from(self.child.id())
                    && let Some(group) = Pid::from_raw(group)
                {
                    // It has ended meanwhile, then; it is waited for next.
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = self.child.wait();
                Some(Some(format!("killed after {:?}", self.job.timeout)))
            }
            Err(error) => Some(Some(error.to_string())),
        }
    }
}

fn start(job: &Job) -> std::io::Result<Child> {
    let (program, arguments) = job
        .command
        .split_first()
        .ok_or(std::io::ErrorKind::InvalidInput)?;
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(job.environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn job(set: usize, script: &str, timeout: Duration) -> Job {
        Job {
            set,
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            timeout,
        }
    }

    fn await_outcomes(hooks: &Hooks, count: usize) -> Vec<Outcome> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut outcomes = Vec::new();
        while outcomes.len() < count {
            assert!(Instant::now() < deadline, "{outcomes:?}");
            outcomes.extend(hooks.outcomes());
            thread::yield_now();
        }
        outcomes
    }

    /// 5.22.
    #[test]
    fn jobs_of_a_set_run_in_order_and_others_do_not_wait_for_them() {
        let directory = std::env::temp_dir().join(format!("vipd-hooks-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("log");
        let gate = directory.join("gate");
        let hooks = Hooks::start().unwrap();
        let minute = Duration::from_secs(60);
        let wait = format!(
            "until [ -e {} ]; do sleep 0.01; done; echo 1 >>{}",
            gate.display(),
            file.display()
        );
        hooks.put(job(0, &wait, minute));
        hooks.put(job(0, &format!("echo 2 >>{}", file.display()), minute));
        hooks.put(job(1, &format!("echo other >>{}", file.display()), minute));
        assert_eq!(
            await_outcomes(&hooks, 1),
            [Outcome {
                set: 1,
                wrong: None
            }]
        );
        fs::write(&gate, "").unwrap();
        await_outcomes(&hooks, 2);
        assert_eq!(fs::read_to_string(&file).unwrap(), "other\n1\n2\n");
        fs::remove_dir_all(&directory).unwrap();
    }

    /// 5.22.
    #[test]
    fn one_that_hangs_is_killed_with_its_children() {
        let hooks = Hooks::start().unwrap();
        let begin = Instant::now();
        // The output would fill any pipe; the grandchild holds on as well.
        let script = "sleep 1000 & while :; do echo flood; done";
        hooks.put(job(3, script, Duration::from_millis(200)));
        let outcomes = await_outcomes(&hooks, 1);
        assert_eq!(outcomes[0].wrong.as_deref(), Some("killed after 200ms"));
        assert!(begin.elapsed() >= Duration::from_millis(200));
    }

    #[test]
    fn what_fails_says_so() {
        let hooks = Hooks::start().unwrap();
        hooks.put(job(0, "exit 7", Duration::from_secs(60)));
        let missing = Job {
            command: vec!["/nonexistent".into()],
            ..job(1, "", Duration::from_secs(60))
        };
        hooks.put(missing);
        let mut wrong: Vec<String> = await_outcomes(&hooks, 2)
            .into_iter()
            .map(|outcome| outcome.wrong.unwrap())
            .collect();
        wrong.sort();
        assert_eq!(wrong[0], "exit status: 7");
        assert!(wrong[1].starts_with("not started: "), "{}", wrong[1]);
    }

    #[test]
    fn what_was_overtaken_is_left_out_and_the_last_one_runs() {
        let mut state = State::default();
        let hooks = Hooks::default();
        for number in 0..101 {
            hooks.put(job(0, &number.to_string(), Duration::ZERO));
        }
        std::mem::swap(&mut state, &mut *hooks.lock());
        let queue = &state.waiting[&0];
        assert!(queue.len() <= QUEUE_MAX);
        assert_eq!(queue.back().unwrap().command[2], "100");
        // Coming and going still alternate.
        let parity = queue
            .iter()
            .map(|job| job.command[2].parse::<u32>().unwrap() % 2);
        assert!(
            parity
                .zip([0, 1, 0, 1])
                .all(|(got, expected)| got == expected)
        );
    }
}
