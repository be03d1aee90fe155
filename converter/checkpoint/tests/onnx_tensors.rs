//! Adds, removes and renames one tensor of an ONNX graph: the logits are unchanged, or the graph is refused with the
//! tensor's name. The graphs are the committed ones of PyTorch's and ONNX Runtime's exporters, and our own.

use std::path::{Path, PathBuf};

use prost::Message;
use resmlp_checkpoint::export::{Batch, to_onnx};
use resmlp_checkpoint::onnx::proto::{GraphProto, ModelProto, TensorProto};
use resmlp_checkpoint::{LoadOptions, load_bytes};
use resmlp_network::{Activation, AffinePlacement, Network};
use resmlp_testing::{Random, Shape};

/// A graph that is read, and the network that it is.
struct Case {
    /// Path that messages name, beside which external data lies.
    path: PathBuf,
    model: ModelProto,
    network: Network,
}

impl Case {
    fn new(path: PathBuf, model: ModelProto) -> Self {
        let network = read(&path, &model).unwrap();
        Self { path, model, network }
    }

    fn changed(&self, change: impl FnOnce(&mut GraphProto)) -> Result<Network, String> {
        let mut model = self.model.clone();
        change(model.graph.as_mut().unwrap());
        read(&self.path, &model)
    }

    fn initializers(&self) -> &[TensorProto] {
        &self.model.graph.as_ref().unwrap().initializer
    }

    fn names_of_nodes(&self) -> Vec<String> {
        self.model.graph.as_ref().unwrap().node.iter().flat_map(|node| node.output.clone()).collect()
    }
}

fn read(path: &Path, model: &ModelProto) -> Result<Network, String> {
    let outcome = load_bytes(path, model.encode_to_vec(), &LoadOptions::default());
    outcome.map(|checkpoint| checkpoint.network).map_err(|error| error.to_string())
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    paths.sort();
    assert!(paths.len() > 50);
    let exported = paths.into_iter().map(|path| {
        let model = ModelProto::decode(std::fs::read(&path).unwrap().as_slice()).unwrap();
        Case::new(path, model)
    });
    let own = (0..6).map(|seed| {
        let classes = (seed % 2 == 0).then_some(3);
        let shape = Shape { image: [4, 6], patch: 2, dim: 4, hidden: 5, depth: 1 + seed % 2, classes };
        let placement = [AffinePlacement::Branch, AffinePlacement::Stream][seed / 3];
        let network = Random(seed as u64).network(&shape, placement);
        let network = Network { activation: Activation::ALL[seed % 3], ..network };
        Case::new(format!("own-{seed}.onnx").into(), to_onnx(&network, Batch::Any, false))
    });
    exported.chain(own).collect()
}

/// Calls `check` for every case with the position and the name of each of its tensors, and reports all failures.
fn for_each_tensor(check: impl Fn(&Case, usize, &str) -> Result<(), String>) {
    let mut failures = Vec::new();
    let mut count = 0;
    for case in cases() {
        for (at, tensor) in case.initializers().iter().enumerate() {
            count += 1;
            if let Err(failure) = check(&case, at, &tensor.name) {
                failures.push(format!("{}, {}: {failure}", case.path.display(), tensor.name));
            }
        }
    }
    assert!(count > 1000, "{count} tensors");
    assert!(failures.is_empty(), "{} of {count} fail:\n{}", failures.len(), failures.join("\n"));
}

fn is_unchanged(case: &Case, found: Result<Network, String>) -> Result<(), String> {
    match found? == case.network {
        true => Ok(()),
        false => Err("read as another network".into()),
    }
}

/// Checks that a graph is refused with one of the names, unless no path to an output needs the tensor.
fn is_refused(case: &Case, found: Result<Network, String>, names: &[&str]) -> Result<(), String> {
    match found {
        Err(error) if names.iter().any(|name| error.contains(&format!("'{name}'"))) => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found == case.network => Ok(()),
        Ok(_) => Err("read as another network".into()),
    }
}

#[test]
fn a_tensor_less_is_refused_by_its_name() {
    for_each_tensor(|case, at, name| {
        let found = case.changed(|graph| drop(graph.initializer.remove(at)));
        if found.is_ok() {
            return Err("read without it".into());
        }
        is_refused(case, found, &[name])
    });
}

#[test]
fn a_renamed_tensor_is_refused_by_a_name() {
    for_each_tensor(|case, at, name| {
        let new = format!("{name}x");
        let found = case.changed(|graph| graph.initializer[at].name.clone_from(&new));
        is_refused(case, found, &[name, &new])
    });
}

#[test]
fn a_tensor_with_the_name_of_another_is_refused_by_it() {
    for_each_tensor(|case, at, name| {
        let values = case.names_of_nodes();
        for other in [case.initializers()[0].name.as_str(), name, values[0].as_str(), values[values.len() / 2].as_str()]
        {
            let found = case.changed(|graph| {
                let tensor = TensorProto { name: other.into(), ..graph.initializer[at].clone() };
                graph.initializer.push(tensor);
            });
            match found {
                Err(error) if error.contains(&format!("'{other}'")) => {}
                found => return Err(format!("a second '{other}': {:?}", found.map(|_| "read"))),
            }
        }
        Ok(())
    });
}

#[test]
fn a_tensor_more_that_no_node_reads_changes_nothing() {
    for_each_tensor(|case, at, name| {
        let found = case.changed(|graph| {
            let tensor = TensorProto { name: format!("{name}x"), ..graph.initializer[at].clone() };
            graph.initializer.insert(at, tensor);
        });
        is_unchanged(case, found)
    });
}
