//! Which cores run the threads: lists of cores, and pinning each thread to one.

use std::sync::{Barrier, Mutex, PoisonError};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use resmlp_runtime::{ParallelFor, Threads};

use crate::files::Files;

/// Cores by number that can be asked for.
const MAX_CPU: usize = CpuSet::count();

/// As the system calls the thread that asks.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// How the user wants threads and cores to go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// One thread on each of the fastest cores.
    Auto,
    /// One thread on each of these, in this order.
    Cpus(Vec<usize>),
}

/// Reads `0-3,6` as the kernel and taskset write it; spaces also separate.
///
/// # Errors
/// What is not such a list.
pub fn parse(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("'{text}' found, expected CPU numbers below {MAX_CPU} such as 0-3,6");
    let number = |text: &str| text.parse().ok().filter(|&number: &usize| number < MAX_CPU).ok_or_else(wrong);
    let mut cpus = Vec::new();
    for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        for cpu in number(first)?..=number(last)? {
            if cpus.contains(&cpu) {
                return Err(format!("CPU {cpu} twice in '{text}'"));
            }
            cpus.push(cpu);
        }
    }
    if cpus.is_empty() { Err(wrong()) } else { Ok(cpus) }
}

/// The cores for `threads` threads.
///
/// # Errors
/// Where there are too few, or this process may not use them.
pub fn choose(pin: &Pin, threads: usize, files: &Files) -> Result<Vec<usize>, String> {
    let allowed = allowed().map_err(|error| format!("the cores of this process are not known: {error}"))?;
    let mut cpus = match pin {
        Pin::Auto => fastest_first(allowed, files),
        // The system decides: it may allow cores that this process does not run on by itself.
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

/// Pins each of the threads, the calling one among them, to one of `cpus`, which are as many.
///
/// # Errors
/// Where the system refuses.
pub fn pin(threads: &Threads, cpus: &[usize]) -> std::io::Result<()> {
    let everybody = Barrier::new(cpus.len());
    let refused = Mutex::new(None);
    // A thread that waits for all others takes no second core: so every thread gets exactly one.
    threads.for_each(cpus.len(), &|index| {
        if let Err(error) = cpus.get(index).map_or(Ok(()), |&cpu| pin_current(cpu)) {
            refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        everybody.wait();
    });
    refused.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// What `ask` gives on this core; the calling thread may use the same cores as before afterwards.
///
/// # Errors
/// Where the system refuses.
pub fn while_pinned<T>(cpu: usize, ask: impl FnOnce() -> T) -> std::io::Result<T> {
    let before = sched_getaffinity(THIS_THREAD)?;
    let answer = pin_current(cpu).map(|()| ask());
    sched_setaffinity(THIS_THREAD, &before)?;
    answer
}

/// Pins the calling thread, and makes sure that the system did.
///
/// # Errors
/// Where the system refuses.
fn pin_current(cpu: usize) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(THIS_THREAD, &set)?;
    if sched_getaffinity(THIS_THREAD)? == set {
        Ok(())
    } else {
        Err(std::io::Error::other("the system did not follow"))
    }
}

/// Cores that the calling thread may use.
fn allowed() -> std::io::Result<Vec<usize>> {
    let set = sched_getaffinity(THIS_THREAD)?;
    Ok((0..MAX_CPU).filter(|&cpu| set.is_set(cpu) == Ok(true)).collect())
}

/// By the capacity that the kernel gives cores of several kinds, else by their highest clock; equal ones by number.
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
        // In a thread, which takes its pinning with it when it ends.
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
    fn what_cannot_be_is_said() {
        let files = Files::below("nowhere");
        let cores = allowed().unwrap();
        assert!(choose(&Pin::Auto, cores.len() + 1, &files).is_err_and(|e| e.contains("cores to pin them to")));
        assert!(choose(&Pin::Cpus(vec![MAX_CPU - 1]), 1, &files).is_err_and(|e| e.contains("may not use CPU 1023")));
        assert_eq!(choose(&Pin::Cpus(cores[..1].to_vec()), 1, &files), Ok(cores[..1].to_vec()));
    }
}
