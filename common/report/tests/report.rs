//! Reads reports that boards send, and writes their pages.
//!
//! `report.json` and `report.html` were written by `resmlp-device bench` in one run. The program ran on a PC and read a
//! Jetson's committed files, so the figures are no Jetson's.

use std::path::Path;

use resmlp_report::{Report, html, text};
use serde_json::{Value, json};

const JSON: &str = include_str!("report.json");
const PAGE: &str = include_str!("report.html");

fn object() -> Value {
    serde_json::from_str(JSON).unwrap()
}

/// Returns the report with another value at `pointer`.
fn with(pointer: &str, value: Value) -> String {
    let mut object = object();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match object.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => object.pointer_mut(parent).unwrap()[name] = value,
    }
    object.to_string()
}

fn page(json: &str) -> String {
    html::page(&Report::from_json(json).unwrap()).unwrap()
}

/// Returns why a report is refused, which must be one line.
fn refusal(json: &str) -> String {
    let refused = Report::from_json(json).unwrap_err().to_string();
    assert!(!refused.contains('\n'), "{refused:?}");
    refused
}

#[test]
fn a_pc_writes_the_page_that_the_board_writes() {
    let found = page(JSON);
    let written = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.html");
    std::fs::write(&written, &found).unwrap();
    let hint = "compare it with common/report/tests/report.html, and copy it there if the change is intended";
    assert!(found == PAGE, "another page is in {}: {hint}", written.display());
}

#[test]
fn a_report_is_the_same_after_it_was_sent() {
    assert_eq!(serde_json::to_string(&Report::from_json(JSON).unwrap()).unwrap(), JSON.trim_end());
}

/// Replaces every text except the names of phases, and every field that is null where a text is allowed.
fn replace_texts(value: &mut Value, replacement: &str) {
    match value {
        Value::String(text) if !["warm-up", "measured", "layers"].contains(&text.as_str()) => {
            *text = replacement.into()
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace_texts(item, replacement)),
        Value::Object(fields) => {
            for (name, value) in fields {
                if value.is_null() && ["board", "cpu", "power_mode", "cpus", "governor"].contains(&name.as_str()) {
                    *value = replacement.into();
                }
                replace_texts(value, replacement);
            }
        }
        _ => {}
    }
}

/// Returns everything between `<` and `>`.
fn tags(page: &str) -> Vec<&str> {
    page.split('<').skip(1).map(|part| part.split_once('>').unwrap().0).collect()
}

#[test]
fn texts_of_a_board_stay_texts() {
    let of = |replacement: &str| {
        let mut object = object();
        object["warnings"] = json!(["a warning", "another"]);
        object["trusted"] = json!(false);
        replace_texts(&mut object, replacement);
        page(&object.to_string())
    };
    let plain = of("plain");
    for hostile in [
        "<script>alert(1)</script>",
        "</title></svg></table></script><script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onload='alert(1)",
        "<!--<script>",
        "<meta http-equiv=refresh content=0;url=https://example.org>",
        "&lt;script&gt;",
        "{{json}}{{table}}",
    ] {
        let found = of(hostile);
        assert_eq!(tags(&found), tags(&plain), "{hostile}");
        let shown = hostile.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        assert!(found.matches(&shown).count() >= 10, "{hostile}: {found}");
        let inside = found.split_once("id=\"report\">").unwrap().1.split_once("</script>").unwrap().0;
        assert_eq!(serde_json::from_str::<Value>(inside).unwrap()["machine"]["board"], hostile);
    }
    // The only script of the page is the element that holds the JSON, which is data.
    assert_eq!(tags(&plain).iter().filter(|tag| tag.starts_with("script")).count(), 1);
    assert!(plain.contains("<script type=\"application/json\""));
    assert!(plain.contains("Content-Security-Policy\" content=\"default-src 'none';") && !plain.contains("script-src"));
}

#[test]
fn fields_that_this_program_does_not_know_are_skipped() {
    let mut object = object();
    object["fan"] = json!({"rpm": [1, 2, null], "<b>": "</script>"});
    object["machine"]["colour"] = json!("green");
    object["layers"][0]["note"] = json!(null);
    assert_eq!(page(&object.to_string()), PAGE);
}

#[test]
fn a_field_that_is_missing_or_of_another_type_is_named() {
    // A field that may be null may be missing too.
    let optional = ["peak_memory_bytes", "peak", "cycles", "energy", "cool_down"];
    for name in object().as_object().unwrap().keys().filter(|name| !optional.contains(&name.as_str())) {
        let mut object = object();
        object.as_object_mut().unwrap().remove(name);
        assert!(refusal(&object.to_string()).contains(&format!("missing field `{name}`")), "{name}");
        object[name] = json!({"a": "b"});
        refusal(&object.to_string());
    }
    for (pointer, value) in [
        ("/threads", json!(-1)),
        ("/threads", json!(1.5)),
        ("/macs", json!(1e300)),
        ("/times_ms/0", json!("1")),
        ("/times_ms/0", json!(null)),
        ("/layers/0/ms", json!([])),
        ("/timeline/0/phase", json!("<b>")),
        ("/energy/sensor", json!(7)),
    ] {
        let refused = refusal(&with(pointer, value));
        assert!(refused.contains("invalid") || refused.contains("unknown variant"), "{pointer}: {refused}");
    }
    for json in ["", "{", "[]", "null", "<!DOCTYPE html>", &JSON.replacen(":40,", ":1e999,", 1), &[JSON, "{}"].concat()]
    {
        refusal(json);
    }
    refusal(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
}

#[test]
fn numbers_lists_and_texts_have_plausible_sizes() {
    let long = "x".repeat(4097);
    for (pointer, value, told) in [
        ("/latency_ms/min", json!(-1.0), "a latency is -1e0, expected a number from 0 to"),
        ("/latency_ms/median", json!(1e300), "a latency is 1e300"),
        ("/latency_ms/p90", json!(0.0), "expected min ≤ median ≤ p90 ≤ p99 ≤ max"),
        ("/times_ms/3", json!(-0.5), "a latency"),
        ("/warmup_ms/first", json!(-1.0), "warmup_ms.first"),
        ("/gmac_per_s", json!(1e17), "gmac_per_s"),
        ("/runs", json!(1_000_001), "runs counts 1000001, expected at most 1000000"),
        ("/macs", json!(u64::MAX), "macs"),
        ("/threads", json!(u64::MAX), "threads"),
        ("/peak_memory_bytes", json!(u64::MAX), "peak_memory_bytes"),
        ("/pinned_to", json!(vec![0; 4097]), "pinned_to counts 4097"),
        ("/peak/share", json!(-1.0), "peak.share"),
        ("/energy/load_w", json!(-1e300), "energy.load_w"),
        ("/layers/0/ms", json!(-1.0), "layers.ms"),
        ("/layers/0/name", json!(long), "a text of layers.name has 4097 bytes, expected at most 4096"),
        ("/machine/board", json!(long), "machine.board"),
        ("/machine/cores", json!(u64::MAX), "machine.cores"),
        ("/before/temperature_c", json!(1e300), "temperature_c"),
        ("/before/clocks/0/mhz", json!(-1.0), "clocks"),
        ("/after/clocks/0/governor", json!(long), "clocks.governor"),
        ("/after/load", json!(-1.0), "load"),
        ("/timeline/1/seconds", json!(0.0), "timeline.seconds falls"),
        ("/timeline/0/mhz", json!(vec![1.0; 1025]), "timeline.mhz counts 1025"),
        ("/timeline/0/temperature_c", json!(-1e300), "timeline.temperature_c"),
        ("/warnings", json!([long]), "warnings"),
        ("/not_known", json!(vec!["x"; 4097]), "not_known counts 4097"),
        ("/cool_down", json!({"wanted_c": 1e300, "seconds": 1}), "cool_down"),
        ("/cycles", json!({"cycles_per_run": -1, "instructions_per_run": 1, "mhz": 1}), "cycles.cycles_per_run"),
    ] {
        let refused = refusal(&with(pointer, value));
        assert!(refused.contains(told), "{pointer}: {refused}");
    }
    // Cold boards and sensors near zero exist.
    for pointer in ["/before/temperature_c", "/timeline/0/temperature_c", "/energy/idle_w"] {
        page(&with(pointer, json!(-12.5)));
    }
}

#[test]
fn the_largest_page_has_a_plausible_size() {
    let sample = |index: usize| json!({"seconds": index, "phase": "measured", "mhz": [1500], "temperature_c": 50});
    let longest: Vec<Value> = (0..125_000).map(sample).collect();
    let found = page(&with("/timeline", json!(longest)));
    assert!((20 << 20..64 << 20).contains(&found.len()), "{}", found.len());
    let longer: Vec<Value> = (0..125_001).map(sample).collect();
    assert!(refusal(&with("/timeline", json!(longer))).contains("timeline counts 250002"));
}

#[test]
fn text_for_people_has_every_layer() {
    let report = Report::from_json(JSON).unwrap();
    let text = text::text(&report);
    for layer in &report.layers {
        assert!(text.lines().any(|line| line.starts_with(&layer.name)), "{}: {text}", layer.name);
    }
    assert!(text.starts_with("board        NVIDIA Jetson Orin Nano Developer Kit\n"), "{text}");
}
