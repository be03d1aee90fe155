//! The program from outside, as `resmlp deploy` and people's scripts see it.

mod boards;
mod cli;
mod hostile;
mod page;
mod place;
#[path = "../boards/unpack.rs"]
mod unpack;
mod watch;

use std::process::Command;

/// On a machine ten times as fast, the network takes a tenth of the time. A network of a tenth of the size shows the
/// same here.
#[test]
fn all_tests_pass_with_a_network_ten_times_smaller() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--skip", "all_tests_pass_with_a_network_ten_times_smaller"]).env(place::SMALL_NETWORK, "1");
    let output = command.output().unwrap();
    let told = place::text(&output.stdout);
    assert!(output.status.success() && told.contains("boards::power_is_read_where_there_is_a_sensor ... ok"), "{told}");
}
