//! Threads for the core's pure but long computations.

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use tidelog_core::compute::Job;
use tidelog_core::effect::Input;
use tidelog_core::id::JobId;

use crate::driver::{Inbox, Message};
use crate::limits::COMPUTE_THREADS;

const THREAD: &str = "compute";

/// The threads. They end when this is dropped, after what they were given.
#[derive(Debug)]
pub(crate) struct Compute {
    jobs: mpsc::Sender<(JobId, Job)>,
    threads: Vec<JoinHandle<()>>,
}

impl Compute {
    /// Starts the threads; they answer to `inbox`.
    pub(crate) fn start(inbox: &Inbox) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..COMPUTE_THREADS)
            .map(|_| {
                let (queue, inbox) = (Arc::clone(&queue), inbox.clone());
                let work = move || {
                    let _watch = inbox.watch(THREAD);
                    while let Some((job, input)) = next(&queue) {
                        let output = input.run();
                        inbox.send(Message::Input(Input::Computed { job, output }));
                    }
                };
                std::thread::Builder::new().name(THREAD.to_owned()).spawn(work)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { jobs, threads })
    }

    /// Begins a computation.
    pub(crate) fn submit(&self, job: JobId, input: Job) {
        // Fails only if every thread panicked, which was reported.
        let _ = self.jobs.send((job, input));
    }

    /// Ends the threads.
    pub(crate) fn finish(self) {
        drop(self.jobs);
        for thread in self.threads {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

fn next(queue: &Mutex<mpsc::Receiver<(JobId, Job)>>) -> Option<(JobId, Job)> {
    queue.lock().expect("no panic while waiting for a job").recv().ok()
}
