//! Reads lists of CPU cores, chooses cores, and pins each thread to one of them.

use std::sync::{Barrier, Mutex, PoisonError};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use resmlp_runtime::{ParallelFor, Threads};

use crate::files::Files;

/// CPU numbers are below this limit.
const MAX_CPU: usize = CpuSet::count();

/// Stands for the calling thread in calls of the system.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// The user's choice of cores for the threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// One thread runs on each of the fastest cores.
    Auto,
    /// One thread runs on each of these cores, in this order.
    Cpus(Vec<usize>),
}

/// Reads a list of cores such as `0-3,6`, as the kernel and taskset write it. A space separates as a comma does.
///
/// # Errors
/// Returns a message that quotes the text if it is not such a list or names a core twice.
pub fn parse(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("found '{text}', expected CPU numbers below {MAX_CPU} such as 0-3,6");
    let number = |text: &str| text.parse().ok().filter(|&number: &usize| number < MAX_CPU).ok_or_else(wrong);
    let mut cpus = Vec::new();
    for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        for cpu in number(first)?..=number(last)? {
            if cpus.contains(&cpu) {
                return Err(format!("'{text}' names CPU {cpu} twice"));
            }
            cpus.push(cpu);
        }
    }
    if cpus.is_empty() { Err(wrong()) } else { Ok(cpus) }
}

/// Chooses the cores for `threads` threads.
///
/// # Errors
/// Returns a message if there are fewer cores than threads, or if this process may not use one of the cores.
pub fn choose(pin: &Pin, threads: usize, files: &Files) -> Result<Vec<usize>, String> {
    let allowed =
        allowed().map_err(|error| format!("the system does not tell which cores this process may use: {error}"))?;
    let mut cpus = match pin {
        Pin::Auto => fastest_first(allowed, files),
        // Only trying tells: the system may allow cores that are outside of the current affinity of this process.
        Pin::Cpus(cpus) => match cpus.iter().find(|&&cpu| while_pinned(cpu, || ()).is_err()) {
            Some(cpu) => return Err(format!("this process may not use CPU {cpu}, expected some of {allowed:?}")),
            None => cpus.clone(),
        },
    };
    if threads > cpus.len() {
        return Err(format!("{threads} threads, but {} cores to pin them to", cpus.len()));
    }
    cpus.truncate(threads);
    Ok(cpus)
}

/// Pins each of the threads, the calling one among them, to one of `cpus`. There must be as many cores as threads.
///
/// # Errors
/// Returns the error of the first thread that the system did not let pin.
pub fn pin(threads: &Threads, cpus: &[usize]) -> std::io::Result<()> {
    let everybody = Barrier::new(cpus.len());
    let refused = Mutex::new(None);
    // Each thread waits at the barrier until all threads have a core. So no thread takes two cores.
    threads.for_each(cpus.len(), &|index| {
        if let Err(error) = cpus.get(index).map_or(Ok(()), |&cpu| pin_current(cpu)) {
            refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        everybody.wait();
    });
    refused.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Calls `ask` on this core, returns its answer, and gives the calling thread its former cores back.
///
/// # Errors
/// Returns the system's error if it does not let the thread change its cores.
pub fn while_pinned<T>(cpu: usize, ask: impl FnOnce() -> T) -> std::io::Result<T> {
    let before = sched_getaffinity(THIS_THREAD)?;
    let answer = pin_current(cpu).map(|()| ask());
    sched_setaffinity(THIS_THREAD, &before)?;
    answer
}

/// Pins the calling thread to one core and checks that the system followed.
///
/// # Errors
/// Returns an error if the system refuses, or reports success and does not follow.
fn pin_current(cpu: usize) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(THIS_THREAD, &set)?;
    if sched_getaffinity(THIS_THREAD)? == set {
        Ok(())
    } else {
        Err(std::io::Error::other("the system reported success but did not pin the thread"))
    }
}

/// Returns the cores that the calling thread may use.
fn allowed() -> std::io::Result<Vec<usize>> {
    let set = sched_getaffinity(THIS_THREAD)?;
    Ok((0..MAX_CPU).filter(|&cpu| set.is_set(cpu) == Ok(true)).collect())
}

/// Sorts cores by speed, fastest first, and equally fast ones by number. The speed is the capacity that the kernel
/// states if the cores are of several kinds, and otherwise the highest clock.
fn fastest_first(mut cpus: Vec<usize>, files: &Files) -> Vec<usize> {
    let speed = |cpu: &usize| {
        let folder = format!("sys/devices/system/cpu/cpu{cpu}");
        let capacity = files.number(format!("{folder}/cpu_capacity"));
        capacity.or_else(|| files.number(format!("{folder}/cpufreq/cpuinfo_max_freq"))).unwrap_or(0.0)
    };
    cpus.sort_by(|a, b| speed(b).total_cmp(&speed(a)).then(a.cmp(b)));
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse("0-3,6"), Ok(vec![0, 1, 2, 3, 6]));
        assert_eq!(parse("0 1 2 3"), Ok(vec![0, 1, 2, 3]));
        assert_eq!(parse("5,2"), Ok(vec![5, 2]));
        for text in ["", "a", "1-", "-1", "3-1", "1,1", "0-99999999999", "0-2,1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fast_cores_come_first() {
        let folder = tempfile::tempdir().unwrap();
        for (cpu, capacity) in [(0, 446), (1, 446), (2, 1024), (3, 1024)] {
            let path = folder.path().join(format!("sys/devices/system/cpu/cpu{cpu}"));
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("cpu_capacity"), format!("{capacity}\n")).unwrap();
        }
        assert_eq!(fastest_first(vec![0, 1, 2, 3], &Files::below(folder.path())), [2, 3, 0, 1]);
        assert_eq!(fastest_first(vec![1, 0], &Files::below("nowhere")), [0, 1]);
    }

    #[test]
    fn every_thread_has_a_core_of_its_own() {
        // The test runs in a thread of its own, whose pinning ends with it.
        let test = std::thread::spawn(|| {
            let files = Files::below("nowhere");
            let cpus = choose(&Pin::Auto, allowed().unwrap().len(), &files).unwrap();
            let threads = Threads::new(cpus.len()).unwrap();
            pin(&threads, &cpus).unwrap();
            let seen = Mutex::new(vec![]);
            let everybody = Barrier::new(cpus.len());
            threads.for_each(cpus.len(), &|_| {
                seen.lock().unwrap().extend(allowed().unwrap());
                everybody.wait();
            });
            let mut seen = seen.into_inner().unwrap();
            seen.sort_unstable();
            assert_eq!(seen, cpus);
        });
        test.join().unwrap();
    }

    #[test]
    fn impossible_choices_are_refused_with_the_reason() {
        let files = Files::below("nowhere");
        let cores = allowed().unwrap();
        assert!(choose(&Pin::Auto, cores.len() + 1, &files).is_err_and(|e| e.contains("cores to pin them to")));
        assert!(choose(&Pin::Cpus(vec![MAX_CPU - 1]), 1, &files).is_err_and(|e| e.contains("may not use CPU 1023")));
        assert_eq!(choose(&Pin::Cpus(cores[..1].to_vec()), 1, &files), Ok(cores[..1].to_vec()));
    }
}
