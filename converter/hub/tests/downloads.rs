//! Downloads from a hub on loopback: what arrives, what is refused, and what stays in the cache.

#[path = "common/case.rs"]
mod case;
#[path = "common/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use case::{CONFIG, Case, WANTED};
use resmlp_hub::{Address, Error, Event, Settings, fetch};
use server::{COMMIT, Gate, REPOSITORY, Reply, Seen, git_hash, sha256};

fn is_weights(seen: &Seen) -> bool {
    seen.is_storage && seen.method == "GET"
}

#[test]
fn files_lie_where_python_looks_for_them() {
    let case = Case::new();
    let snapshot = case.fetch().unwrap();
    case.assert_is_whole(&snapshot);
    assert_eq!(snapshot.weights, case.kept(&format!("snapshots/{COMMIT}/model.safetensors")));
    assert_eq!(fs::read_to_string(case.kept("refs/main")).unwrap(), COMMIT);
    let names = |path: &str| {
        let mut names: Vec<_> = fs::read_dir(case.kept(path))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let mut hashes = [sha256(&case.weights), git_hash(CONFIG)];
    hashes.sort();
    assert_eq!(names("blobs"), hashes);
    assert_eq!(names(&format!("snapshots/{COMMIT}")), ["config.json", "model.safetensors"]);
    let locks = case.folder.path().join("hub/.locks/models--timm--tiny_resmlp.of_tests");
    assert!(locks.join(format!("{}.lock", hashes[0])).is_file());
    let tag = fs::read_to_string(case.folder.path().join("hub/CACHEDIR.TAG")).unwrap();
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"));
    #[cfg(unix)]
    for (name, hash) in [("config.json", git_hash(CONFIG)), ("model.safetensors", sha256(&case.weights))] {
        let link = fs::read_link(case.kept(&format!("snapshots/{COMMIT}")).join(name)).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(hash));
    }
}

#[test]
fn what_the_cache_has_is_not_downloaded_again() {
    let case = Case::new();
    let first = case.fetch().unwrap();
    assert_eq!((case.fetch().unwrap(), case.server.downloads()), (first.clone(), 1));
    // A commit never changes, so the hub is not even asked.
    let asked = case.server.seen().len();
    assert_eq!(case.fetch_of(&format!("hf:{REPOSITORY}@{COMMIT}")).unwrap(), first);
    assert_eq!(case.server.seen().len(), asked);
    // The blob may come from Python, which has another link to it.
    fs::remove_dir_all(case.kept("snapshots")).unwrap();
    case.assert_is_whole(&case.fetch().unwrap());
    assert_eq!(case.server.downloads(), 1);
}

#[test]
fn revisions_are_branches_tags_and_commits() {
    let case = Case::new();
    for revision in ["v1.0", "refs/pr/1", COMMIT] {
        case.assert_is_whole(&case.fetch_of(&format!("hf:{REPOSITORY}@{revision}")).unwrap());
    }
    assert_eq!(fs::read_to_string(case.kept("refs/refs/pr/1")).unwrap(), COMMIT);
    assert!(case.kept("refs/v1.0").is_file() && !case.kept(&format!("refs/{COMMIT}")).exists());
    assert_eq!(case.server.downloads(), 1);
}

#[test]
fn a_download_that_breaks_off_is_continued_by_itself() {
    let case = Case::new();
    case.server.answer(|seen, reply| match is_weights(seen) && seen.range.is_none() {
        true => Reply { cut: Some(1_000_000), ..reply },
        false => reply,
    });
    case.assert_is_whole(&case.fetch().unwrap());
    let ranges: Vec<_> = case.server.seen().iter().filter(|seen| is_weights(seen)).map(|seen| seen.range).collect();
    assert_eq!(ranges, [None, Some(1_000_000)]);
}

#[test]
fn a_download_that_breaks_again_and_again_is_continued_by_the_next_run() {
    let case = Case::new();
    case.server.answer(|seen, reply| if is_weights(seen) { Reply { cut: Some(100_000), ..reply } } else { reply });
    let error = case.error();
    assert!(error.contains("model.safetensors ends at 500000 of 2500000 bytes"), "{error}");
    assert!(error.contains("run the command again"), "{error}");
    case.assert_nothing_is_kept();
    assert_eq!(fs::metadata(case.incomplete()).unwrap().len(), 500_000);

    case.server.answer(|_, reply| reply);
    case.assert_is_whole(&case.fetch().unwrap());
    assert_eq!(case.server.seen().last().unwrap().range, Some(500_000));
}

#[test]
fn a_server_without_ranges_sends_the_file_from_the_beginning() {
    let case = Case::new();
    fs::create_dir_all(case.kept("blobs")).unwrap();
    fs::write(case.incomplete(), &case.weights[..700_000]).unwrap();
    let whole = case.weights.clone();
    case.server.answer(move |seen, reply| match is_weights(seen) {
        true => Reply { status: 200, headers: vec![], body: whole.clone(), ..reply },
        false => reply,
    });
    case.assert_is_whole(&case.fetch().unwrap());
}

#[test]
fn a_partial_file_of_other_contents_is_downloaded_once_more() {
    let lengths = [700_000, 2_500_000, 3_000_000];
    for length in lengths {
        let case = Case::new();
        fs::create_dir_all(case.kept("blobs")).unwrap();
        fs::write(case.incomplete(), vec![1; length]).unwrap();
        case.assert_is_whole(&case.fetch().unwrap());
    }
    // A server may answer 416 to a range that it could send.
    let case = Case::new();
    fs::create_dir_all(case.kept("blobs")).unwrap();
    fs::write(case.incomplete(), &case.weights[..10]).unwrap();
    case.server.answer(|seen, reply| if seen.range.is_some() { Reply::new(416, &[], "") } else { reply });
    case.assert_is_whole(&case.fetch().unwrap());
}

#[test]
fn contents_that_do_not_fit_the_hash_are_deleted() {
    for (name, kind) in [("config.json", "git hash"), ("model.safetensors", "SHA-256")] {
        let case = Case::new();
        let is_wrong = move |seen: &Seen| {
            seen.method == "GET" && (is_weights(seen) && name != "config.json" || seen.path.ends_with(name))
        };
        case.server.answer(move |seen, mut reply| {
            if is_wrong(seen) && reply.status == 200 {
                reply.body[7] ^= 1;
            }
            reply
        });
        let error = case.error();
        assert!(error.contains(name) && error.contains(kind) && error.contains("the file was deleted"), "{error}");
        case.assert_nothing_is_kept();
        assert!(!case.incomplete().exists());
        case.server.answer(|_, reply| reply);
        case.assert_is_whole(&case.fetch().unwrap());
    }
}

#[test]
fn contents_of_another_length_are_refused() {
    // The hub announces fewer bytes than the storage sends.
    let case = Case::new();
    let announce = |size: &'static str| {
        case.server.answer(move |seen, reply| match seen.path.ends_with("model.safetensors") {
            true => reply.with("x-linked-size", size),
            false => reply,
        });
    };
    announce("1000");
    let error = case.error();
    assert!(error.contains("sends more than 1000 bytes of model.safetensors"), "{error}");
    case.assert_nothing_is_kept();

    // The hub announces more, and the storage has no more.
    announce("2500001");
    let error = case.error();
    assert!(error.contains("ends at 2500000 of 2500001 bytes") || error.contains("ends at 0 of 2500001"), "{error}");
    case.assert_nothing_is_kept();
    case.server.answer(|_, reply| reply);
    case.assert_is_whole(&case.fetch().unwrap());
}

#[test]
fn a_body_without_end_is_given_up_at_the_announced_length() {
    let case = Case::new();
    case.server.answer(|seen, reply| Reply { is_endless: is_weights(seen), ..reply });
    let error = case.error();
    assert!(error.contains("sends more than 2500000 bytes"), "{error}");
    case.assert_nothing_is_kept();
    assert!(!case.incomplete().exists());
    // The description of the repository has no announced length, but a limit.
    case.server.answer(|_, reply| Reply { is_endless: true, body: vec![b' '; 1 << 16], ..reply });
    let error = case.error();
    assert!(error.contains("more than 16 MiB"), "{error}");
}

#[test]
fn absurd_lengths_are_refused_before_the_download() {
    for (name, size, limit) in [
        ("config.json", 1u64 << 30, 16u64 << 20),
        ("model.safetensors", 1 << 60, 16 << 30),
        ("model.safetensors", u64::MAX, 16 << 30),
    ] {
        let case = Case::new();
        case.server.answer(move |seen, reply| match seen.method == "HEAD" && seen.path.ends_with(name) {
            true if name == "config.json" => reply.with("content-length", &size.to_string()),
            true => reply.with("x-linked-size", &size.to_string()),
            false => reply,
        });
        let error = case.error();
        assert!(error.contains(&format!("announces {size} bytes for {name}; expected at most {limit}")), "{error}");
        case.assert_nothing_is_kept();
    }
}

#[test]
fn names_and_hashes_of_a_server_lead_nowhere_else() {
    let case = Case::with(&[("../../../model.safetensors", b"x"), ("/etc/model.safetensors", b"y")], vec![]);
    let error = case.error();
    assert!(error.contains("no model.safetensors and no pytorch_model.bin, but ../../../model.safetensors"), "{error}");

    let case = Case::new();
    for tag in ["../../../../outside", "/tmp/outside", "", "W/\"5d41402abc4b2a76b9719d911017c592\"", "a.incomplete"] {
        case.server.answer(move |seen, reply| match seen.method == "HEAD" {
            true => reply.with("x-linked-etag", tag).with("etag", tag),
            false => reply,
        });
        let error = case.error();
        assert!(error.contains("expected a hash by which the file can be verified"), "{tag}: {error}");
    }
    for sha in ["../../outside", "main", "0123"] {
        let json = format!(r#"{{"sha":"{sha}","siblings":[{{"rfilename":"model.safetensors"}}]}}"#);
        case.server.answer(move |_, _| Reply::new(200, &[], json.clone()));
        assert!(case.error().contains("names no commit"));
    }
    // The hub may not answer with another commit than the one that was asked for.
    let other = COMMIT.replace('0', "f");
    let address = format!("hf:{REPOSITORY}@{COMMIT}");
    let json = format!(r#"{{"sha":"{other}","siblings":[{{"rfilename":"model.safetensors"}}]}}"#);
    case.server.answer(move |_, _| Reply::new(200, &[], json.clone()));
    assert!(case.fetch_of(&address).unwrap_err().to_string().contains("answers with the commit f123"));
    let commit = other.clone();
    case.server.answer(move |_, reply| reply.with("x-repo-commit", &commit));
    assert!(case.error().contains("of the commit f123"));
    case.assert_nothing_is_kept();
    assert_eq!(fs::read_dir(case.folder.path()).unwrap().count(), 0);
}

#[test]
fn answers_that_are_no_hubs_are_refused() {
    let case = Case::new();
    for (reply, words) in [
        (Reply::new(200, &[], "<html>"), "something else than JSON"),
        (Reply::new(200, &[], "{}"), "names no commit"),
        (Reply::new(302, &[("location", "/x")], ""), "redirects without end"),
        (Reply::new(302, &[("location", "file:///etc/passwd")], ""), "redirects to file:///etc/passwd"),
        (Reply::new(302, &[("location", "http://[")], ""), "redirects to http://["),
        (Reply::new(302, &[], ""), "answers 302"),
        (Reply::new(500, &[], "oops"), "try again later, or set HF_ENDPOINT"),
        (Reply::new(418, &[], ""), "check that HF_ENDPOINT is the address of a model hub"),
    ] {
        case.server.answer(move |_, _| reply.clone());
        let error = case.error();
        assert!(error.starts_with(&format!("hf:{REPOSITORY}: 127.0.0.1 ")) && error.contains(words), "{error}");
    }
}

#[test]
fn what_does_not_exist_is_named() {
    let case = Case::new();
    for (address, words) in [
        ("hf:timm/resmlp_13_224", "check the spelling of owner, name and revision"),
        (&format!("hf:{REPOSITORY}@v9"), "check the spelling of the revision after the @"),
    ] {
        let error = case.fetch_of(address).unwrap_err().to_string();
        assert!(error.starts_with(address) && error.contains("answers 404"), "{error}");
        assert!(error.contains("(\"not here\")") && error.contains(words), "{error}");
    }
    // A file may vanish between the description and the question for it.
    let gone = [("x-error-code", "EntryNotFound")];
    case.server
        .answer(move |seen, reply| if seen.path.ends_with("safetensors") { Reply::new(404, &gone, "") } else { reply });
    let error = case.error();
    assert!(error.contains("model.safetensors of the commit") && error.contains("lists the files"), "{error}");
    case.assert_nothing_is_kept();
}

#[test]
fn a_token_is_asked_for_and_goes_to_the_hub_alone() {
    let mut case = Case::new();
    case.server.answer(|seen, reply| match (seen.is_storage, seen.authorization.as_deref()) {
        (false, None) => Reply::new(401, &[], r#"{"error":"Invalid username or password."}"#),
        (false, Some("Bearer hf_right")) | (true, None) => reply,
        (false, Some("Bearer hf_gated")) => Reply::new(403, &[("x-error-code", "GatedRepo")], ""),
        _ => Reply::new(401, &[("x-error-message", "bad token")], ""),
    });
    let error = case.error();
    assert!(
        error.contains("answers 401") && error.contains("Invalid username") && error.contains("set HF_TOKEN"),
        "{error}"
    );
    case.token = Some("hf_wrong".into());
    let error = case.error();
    assert!(error.contains("(\"bad token\")") && error.contains("not valid, or has no right"), "{error}");
    assert!(!error.contains("hf_wrong"));
    case.token = Some("hf_gated".into());
    let error = case.error();
    assert!(error.contains("answers 403") && error.contains(&format!("/{REPOSITORY}, accept its licence")), "{error}");
    case.token = Some("hf_right".into());
    // The storage refuses requests with a token, as Amazon's does.
    case.assert_is_whole(&case.fetch().unwrap());
}

#[test]
fn weights_of_pytorch_are_taken_where_there_is_nothing_else() {
    let weights = b"a pickle".to_vec();
    let case =
        Case::with(&[("config.json", CONFIG), ("pytorch_model.bin", &weights), ("x.onnx", b"")], weights.clone());
    let snapshot = case.fetch().unwrap();
    assert!(snapshot.weights.ends_with("pytorch_model.bin"));
    case.assert_is_whole(&snapshot);
    let files: Vec<String> = (0..20).map(|i| format!("file{i}.h5")).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let error = Case::with(&files, vec![]).error();
    assert!(error.contains("but 20 files: file0.h5, ") && error.contains("by hand"), "{error}");
    assert!(!error.contains("file9"), "{error}");
}

#[test]
fn offline_the_cache_alone_is_used() {
    let mut case = Case::new();
    case.offline = true;
    let error = case.error();
    assert!(error.contains("HF_HUB_OFFLINE is set") && error.contains("has no commit of main"), "{error}");
    case.offline = false;
    let online = case.fetch().unwrap();
    case.offline = true;
    let asked = case.server.seen().len();
    assert_eq!(case.fetch().unwrap(), online);
    assert_eq!(case.fetch_of(&format!("hf:{REPOSITORY}@{COMMIT}")).unwrap(), online);
    let error = case.fetch_of(&format!("hf:{REPOSITORY}@v1.0")).unwrap_err().to_string();
    assert!(error.contains("has no commit of v1.0"), "{error}");
    assert_eq!(case.server.seen().len(), asked);

    fs::remove_file(online.weights.with_file_name("config.json")).unwrap();
    let notes = case.notes();
    assert!(notes.len() == 1 && notes[0].contains("has no config.json of the commit"), "{notes:?}");
    fs::remove_file(&online.weights).unwrap();
    let error = case.error();
    assert!(error.contains(&format!("no model.safetensors or pytorch_model.bin of its commit {COMMIT}")), "{error}");
}

#[test]
fn a_damaged_file_of_the_cache_is_found() {
    let mut case = Case::new();
    case.fetch().unwrap();
    let damage = |case: &Case| fs::write(case.blob(), vec![0; case.weights.len()]).unwrap();
    damage(&case);
    case.offline = true;
    let error = case.error();
    assert!(error.contains(&sha256(&case.weights)) && error.contains("the file is damaged"), "{error}");
    case.offline = false;
    case.assert_is_whole(&case.fetch().unwrap());
    damage(&case);
    case.assert_is_whole(&case.fetch_of(&format!("hf:{REPOSITORY}@{COMMIT}")).unwrap());
}

#[test]
fn a_hub_that_does_not_answer_leaves_the_cache() {
    let mut case = Case::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    let open = std::mem::replace(&mut case.server.endpoint, closed.clone());
    // Nobody listens at the port from here on.
    drop(listener);
    let error = case.error();
    assert!(error.contains("does not answer") && error.contains("HF_ENDPOINT") && error.contains("by hand"), "{error}");
    case.server.endpoint = open;
    case.fetch().unwrap();
    case.server.endpoint = closed;
    let notes = case.notes();
    assert!(notes.len() == 1 && notes[0].contains("does not answer") && notes[0].contains(COMMIT), "{notes:?}");
}

#[test]
fn a_silent_server_is_given_up() {
    let case = Case::new();
    let gate = Arc::new(Gate::default());
    let held = gate.clone();
    case.server.answer(move |seen, reply| match is_weights(seen) {
        true => Reply { gate: Some((0, held.clone())), ..reply },
        false => reply,
    });
    let settings = Settings { silence: Duration::from_secs(1), ..case.settings() };
    let address = Address::parse(&format!("hf:{REPOSITORY}")).unwrap();
    let error = fetch(&address, &settings, WANTED, &mut |_| ()).unwrap_err();
    assert!(matches!(error, Error::Broken { received: 0, .. }), "{error}");
    gate.open();
}

#[test]
fn two_downloads_at_once_are_one() {
    let case = Arc::new(Case::new());
    let gate = Arc::new(Gate::default());
    let (held, held_once) = (gate.clone(), AtomicBool::new(false));
    case.server.answer(move |seen, reply| match is_weights(seen) && !held_once.swap(true, Ordering::SeqCst) {
        true => Reply { gate: Some((100_000, held.clone())), ..reply },
        false => reply,
    });
    let first = std::thread::spawn({
        let case = case.clone();
        move || case.fetch().unwrap()
    });
    gate.wait_for_server();
    let waited = AtomicUsize::new(0);
    let mut tell = |event: Event| {
        if event == (Event::Waiting { file: "model.safetensors" }) {
            waited.fetch_add(1, Ordering::SeqCst);
            gate.open();
        }
    };
    let address = Address::parse(&format!("hf:{REPOSITORY}")).unwrap();
    let second = fetch(&address, &case.settings(), WANTED, &mut tell).unwrap();
    assert_eq!((first.join().unwrap(), waited.into_inner()), (second.clone(), 1));
    case.assert_is_whole(&second);
    assert_eq!(case.server.downloads(), 1);
}

#[test]
fn progress_ends_at_the_announced_length() {
    let case = Case::new();
    let mut all = vec![];
    let mut tell = |event: Event| {
        if let Event::Progress { file, done, size } = event {
            all.push((file.to_owned(), done, size));
        }
    };
    let address = Address::parse(&format!("hf:{REPOSITORY}")).unwrap();
    fetch(&address, &case.settings(), WANTED, &mut tell).unwrap();
    let weights: Vec<_> = all.iter().filter(|(file, ..)| file == "model.safetensors").collect();
    assert!(weights.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    assert_eq!((weights[0].1, weights.last().unwrap().1, weights[0].2), (0, 2_500_000, 2_500_000));
    assert_eq!(all.iter().rfind(|(file, ..)| file == "config.json").unwrap().1, CONFIG.len() as u64);
}
