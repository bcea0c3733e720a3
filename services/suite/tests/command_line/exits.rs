//! What a script sees: 2 for bad usage and bad input, with nothing sent; 3 for a server that is away.

use crate::support::{Served, events_in, run, text};

/// Nobody listens on port 1.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn bad_usage_is_exit_code_two_with_one_sentence() {
    for (arguments, words) in [
        (
            ["load", "everything"].as_slice(),
            "invalid value 'everything'",
        ),
        (
            &["load", "mixed", "--server", "ftp://shop:1"],
            "is not a server URL",
        ),
        (
            &["load", "mixed", "--duration", "soon"],
            "must look like 250ms",
        ),
        (&["simulate", "--shoppers", "0"], "shoppers"),
        (&["import", "online-retail", "/nowhere.csv"], "/nowhere.csv"),
        (
            &["import", "online-retail", "x.csv", "--grant", "personalise"],
            "--evidence",
        ),
        (
            &[
                "import",
                "online-retail",
                "x.csv",
                "--grant",
                "all",
                "--evidence",
                "x",
            ],
            "is not a purpose",
        ),
        (&["serve", "--listen", "everywhere"], "invalid"),
        (&["dance"], "unrecognized subcommand"),
        (&[], "Usage"),
    ] {
        let output = run(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "results only go to stdout");
    }
}

#[test]
fn an_absent_server_is_exit_code_three_and_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.csv");
    let line = "1,TEA,T,6,2010-12-01 08:26:00,2.55,1,UK";
    let header = "invoice,item,description,quantity,timestamp,unit_price,customer,country";
    std::fs::write(&file, format!("{header}\n{line}\n")).unwrap();
    for arguments in [
        ["import", "online-retail", file.to_str().unwrap()].as_slice(),
        &["simulate", "--shoppers", "10", "--days", "1"],
        &["load", "mixed", "--subjects", "10"],
        &["healthcheck"],
    ] {
        let output = run(&[arguments, &["--server", NOBODY]].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains(NOBODY), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn bad_input_names_file_line_and_column_and_nothing_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mapping = "event = \"view_item\"\n\
        [identifier]\nkind = \"login\"\ncolumn = \"user\"\n\
        [occurred_at]\ncolumn = \"time\"\n\
        [fields]\nitem_id = \"item\"\n";
    let good = write("good.toml", mapping);
    let wrong = write("wrong.toml", &mapping.replace("item_id", "colour"));
    let visits = write(
        "visits.csv",
        "user,time,item\nann,2020-01-01,tea\nbob,yesterday,cup\n",
    );
    let lacking = write("lacking.csv", "user,item\nann,tea\n");
    let empty = write("empty.csv", "user,time,item\n");
    let served = Served::start(folder.path());
    for (mapping, file, words) in [
        (
            &good,
            &visits,
            "visits.csv, line 3, column 2 (time): `yesterday`",
        ),
        (&wrong, &visits, "colour"),
        (&good, &lacking, "time"),
        (&good, &empty, "empty.csv"),
    ] {
        let output = served.run(&["import", "csv", "--mapping", mapping, file]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(events_in(&served.channel()).await, 0);
}
