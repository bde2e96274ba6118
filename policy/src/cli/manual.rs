//! `completions` and `man`: what a packager installs beside the program, made from the arguments themselves.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Answer, Failure};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArguments {
    /// bash, elvish, fish, powershell or zsh.
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArguments {
    /// Folder to write `schakel-policy.1` and a page for each command to; without it the first page is printed.
    folder: Option<PathBuf>,
}

/// Prints the completion script of a shell.
pub fn completions(arguments: &CompletionsArguments, json: bool) -> Answer {
    let mut command = super::Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "schakel-policy", &mut script);
    let script = String::from_utf8_lossy(&script);
    if json {
        println!(
            "{}",
            serde_json::json!({ "shell": arguments.shell.to_string(), "script": script })
        );
    } else {
        print(script.as_bytes())?;
    }
    Ok(true)
}

/// Prints the manual page, or writes all pages to a folder.
pub fn man(arguments: &ManArguments, json: bool) -> Answer {
    let command = super::Arguments::command();
    let Some(folder) = &arguments.folder else {
        let page = page(&command)?;
        if json {
            println!(
                "{}",
                serde_json::json!({ "page": String::from_utf8_lossy(&page) })
            );
        } else {
            print(&page)?;
        }
        return Ok(true);
    };
    let mut written = vec![write(folder, "schakel-policy", command.clone())?];
    for sub in command.get_subcommands() {
        let name = format!("schakel-policy-{}", sub.get_name());
        let spoken = format!("schakel-policy {}", sub.get_name());
        let sub = sub.clone().display_name(name.clone()).bin_name(spoken);
        written.push(write(folder, &name, sub)?);
    }
    if json {
        println!("{}", serde_json::json!({ "written": written }));
    } else {
        for path in written {
            println!("{path}");
        }
    }
    Ok(true)
}

fn write(folder: &Path, name: &str, command: clap::Command) -> Result<String, Failure> {
    let path = folder.join(format!("{name}.1"));
    std::fs::write(&path, page(&command)?).map_err(|error| Failure::reading(&path, &error))?;
    Ok(path.display().to_string())
}

fn page(command: &clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command.clone());
    man.render(&mut page)
        .map_err(|error| Failure::Other(format!("the manual page cannot be made: {error}")))?;
    Ok(page)
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(bytes)
        .map_err(|error| Failure::Other(format!("standard output: {error}")))
}
