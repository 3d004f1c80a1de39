//! The program: its command line, `--exec`, and how it ends.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{LIMIT, PROGRAM, Started, client_trusting};
use serde_json::Value;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("--no-postgres").args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Returns the output of a program that ends by itself.
fn output(command: &mut Command) -> Output {
    let child = command.spawn().unwrap();
    let pid = child.id();
    let (done, wait) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let in_time = wait.recv_timeout(LIMIT) != Err(mpsc::RecvTimeoutError::Timeout);
        if !in_time {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
        in_time
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    assert!(watchdog.join().unwrap(), "it does not end");
    output
}

fn exec(options: &[&str], script: &str) -> Output {
    output(program(options).args(["--exec", "sh", "-c", script]))
}

fn environment(options: &[&str]) -> BTreeMap<String, String> {
    let mut command = program(options);
    for name in
        ["AZURE_CLIENT_ID", "IDENTITY_SERVER_THUMBPRINT", "MSI_ENDPOINT", "IMDS_ENDPOINT", "PGPASSWORD", "PGSERVICE"]
    {
        command.env(name, "inherited");
    }
    for name in ["HTTPS_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, "http://proxy.example");
    }
    let output = output(command.env("PGUSER", "kept").args(["--exec", "env"]));
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

#[test]
fn exec_environment_has_app_service_and_no_inherited_azure_variables() {
    let environment = environment(&["--dns-name", "emulator.test"]);
    for name in
        ["AZURE_CLIENT_ID", "IDENTITY_SERVER_THUMBPRINT", "MSI_ENDPOINT", "IMDS_ENDPOINT", "PGPASSWORD", "PGSERVICE"]
    {
        assert_eq!(environment.get(name), None, "{name}");
    }
    for name in ["HTTPS_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        assert_eq!(environment.get(name), None, "{name}");
    }
    assert_eq!(environment["PGUSER"], "kept");
    assert!(environment["IDENTITY_ENDPOINT"].ends_with("/msi/token") && !environment["IDENTITY_HEADER"].is_empty());
    assert!(environment["NO_PROXY"].contains("localhost") && environment["NO_PROXY"].ends_with(",emulator.test"));
    for name in ["PGSSLROOTCERT", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"] {
        assert_eq!(environment[name], environment["SSL_CERT_FILE"]);
    }
    assert!(!Path::new(&environment["SSL_CERT_FILE"]).exists(), "everything is removed at the end");
    assert!(!environment.contains_key("PGHOST"), "there is no PostgreSQL");
}

#[test]
fn exec_as_sets_the_variables_of_the_principal() {
    let service_principal = environment(&["--as", "orders-api"]);
    assert_eq!(service_principal["AZURE_CLIENT_ID"], common::ORDERS_API);
    assert_eq!(service_principal["AZURE_CLIENT_SECRET"], "orders-api-secret");
    assert_eq!(service_principal["AZURE_TENANT_ID"], "99999999-0000-0000-0000-000000000009");
    assert!(service_principal["AZURE_AUTHORITY_HOST"].starts_with("https://localhost:"));
    assert!(!service_principal.contains_key("IDENTITY_ENDPOINT"));
    let slot = environment(&["--as", "shop/slots/staging"]);
    assert!(slot["IDENTITY_ENDPOINT"].ends_with("/aaaaaaaa-0000-0000-0000-000000000004/msi/token"));
    assert!(!slot.contains_key("AZURE_CLIENT_ID"));
    for name in ["nobody", "db-readers"] {
        let output = exec(&["--as", name], "echo ran");
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(125), true));
        assert!(String::from_utf8(output.stderr).unwrap().contains(name));
    }
}

#[test]
fn exec_as_user_signs_in_to_the_developer_tools() {
    let options = ["--as", "alice@contoso.example"];
    let output = exec(
        &options,
        "az account get-access-token --output json --resource https://ossrdbms-aad.database.windows.net; \
         azd auth token --output json --no-prompt --scope https://management.azure.com/.default; \
         az account get-access-token --resource https://nowhere.example; echo $?; echo $AZURE_TOKEN_CREDENTIALS",
    );
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = stdout.lines().collect();
    let az: Value = serde_json::from_str(lines[0]).unwrap();
    let claims = common::claims(&az["accessToken"]);
    assert_eq!(
        (&claims["upn"], &claims["aud"]),
        (&Value::from("alice@contoso.example"), &Value::from(common::DATABASE))
    );
    assert_eq!(az["expires_on"], claims["exp"]);
    assert!(az["tokenType"].is_string() && az["tenant"].is_string() && az["subscription"].is_string());
    assert_eq!(az["expiresOn"].as_str().unwrap().len(), "2030-01-01 09:00:00.000000".len());
    let azd: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(common::claims(&azd["token"])["aud"], common::MANAGEMENT);
    assert!(azd["expiresOn"].as_str().unwrap().ends_with('Z'));
    assert_eq!(lines[2..], ["1", "dev"]);
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("ERROR: AADSTS500011: "));
}

#[test]
fn exec_endpoints_are_available_while_the_command_runs() {
    let script = "cat \"$SSL_CERT_FILE\" >/dev/null && tail -n 1 \"$SSL_CERT_FILE\"";
    let output = exec(&[], script);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "-----END CERTIFICATE-----\n",
        "the command's output is all there is"
    );
}

#[test]
fn exec_exit_status_is_that_of_the_command() {
    assert_eq!(exec(&[], "exit 0").status.code(), Some(0));
    assert_eq!(exec(&[], "exit 7").status.code(), Some(7));
    assert_eq!(exec(&[], "kill -9 $$").status.code(), Some(137));
    let missing = output(&mut program(&["--exec", "/no/such/program"]));
    assert_eq!(missing.status.code(), Some(127));
    for wrong in
        [&["--no-such-option"][..], &["--exec"], &["--as", "app-mi"], &["--listen", "nowhere"], &["--port", "x=1"]]
    {
        assert_eq!(output(&mut program(wrong)).status.code(), Some(125), "{wrong:?}");
    }
}

#[test]
fn exec_signals_are_forwarded_to_the_command() {
    let script = "trap 'exit 9' TERM; echo '\"started\"'; while :; do sleep 0.05; done";
    let mut started = Started::new(&mut program(&["--exec", "sh", "-c", script]));
    assert_eq!(started.ready, "started");
    terminate(started.child.id());
    assert_eq!(started.wait(), Some(9));
}

#[cfg(target_os = "linux")]
#[test]
fn exec_command_ends_with_a_killed_emulator() {
    let mut started = Started::new(&mut program(&["--exec", "sh", "-c", "echo $$; exec sleep 60"]));
    let command = format!("/proc/{}", started.ready);
    assert!(Path::new(&command).exists());
    started.child.kill().unwrap();
    started.child.wait().unwrap();
    let start = Instant::now();
    // A zombie has ended too.
    let is_alive = || std::fs::read_to_string(format!("{command}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while is_alive() && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!is_alive());
}

fn terminate(pid: u32) {
    assert!(Command::new("kill").arg(pid.to_string()).status().unwrap().success());
}

#[test]
fn program_prints_one_line_and_writes_the_ready_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ready.json");
    let mut started = Started::new(&mut program(&["--ready-file", file.to_str().unwrap()]));
    let written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(written, started.ready);
    assert_eq!((&written["ready"], &written["pid"]), (&Value::Bool(true), &Value::from(started.child.id())));
    for name in ["authority_host", "token_url", "imds_host", "control", "ca_file", "bundle_file"] {
        assert!(written[name].is_string(), "{name}");
    }
    assert!(written["app_service"]["endpoint"].is_string() && written["app_service"]["header"].is_string());
    assert!(written["postgres"].is_null());

    let mut control = TcpStream::connect(started.control()).unwrap();
    control.write_all(b"POST /stop HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(started.wait(), Some(0));
    let mut rest = String::new();
    started.stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "one line and no more");
    assert!(!Path::new(written["ca_file"].as_str().unwrap()).exists());
}

#[test]
fn program_signal_ends_it_cleanly() {
    let mut started = Started::new(&mut program(&[]));
    terminate(started.child.id());
    assert_eq!(started.wait(), Some(0));
    assert!(!Path::new(started.ready["ca_file"].as_str().unwrap()).exists());
}

#[test]
fn program_ends_with_its_parent() {
    let directory = tempfile::tempdir().unwrap();
    for (option, lives_on) in [("--listen=127.0.0.1", false), ("--outlive-parent", true)] {
        let file = directory.path().join(option);
        let script = format!(
            "{PROGRAM} --no-postgres {option} --ready-file {0} >/dev/null 2>&1 & while ! test -e {0}; do sleep 0.05; done",
            file.display()
        );
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        let ready: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let control = ready["control"].as_str().unwrap().strip_prefix("http://").unwrap();
        let start = Instant::now();
        // The emulator polls five times a second.
        let patience = if lives_on { Duration::from_secs(1) } else { LIMIT };
        while TcpStream::connect(control).is_ok() && start.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(TcpStream::connect(control).is_ok(), lives_on, "{option}");
        if lives_on {
            terminate(ready["pid"].as_u64().unwrap().try_into().unwrap());
        }
    }
}

#[test]
fn program_stop_on_stdin_eof_ends_with_its_input() {
    let mut command = program(&["--stop-on-stdin-eof"]);
    let mut started = Started::new(command.stdin(Stdio::piped()));
    assert!(TcpStream::connect(started.control()).is_ok());
    drop(started.child.stdin.take());
    assert_eq!(started.wait(), Some(0));
}

#[tokio::test]
async fn program_ca_dir_keeps_the_authority() {
    let directory = tempfile::tempdir().unwrap();
    let options =
        ["--ca-dir", directory.path().to_str().unwrap(), "--dns-name", "emulator.test", "--dns-name", "127.0.0.2"];
    let mut authority = None;
    for round in 0..2 {
        let started = Started::new(&mut program(&options));
        let file = directory.path().join("ca.pem");
        assert_eq!(started.ready["ca_file"].as_str(), file.to_str());
        let certificate = std::fs::read(&file).unwrap();
        assert_eq!(authority.get_or_insert_with(|| certificate.clone()), &certificate, "round {round}");
        let port = started.ready["authority_host"].as_str().unwrap().rsplit(':').next().unwrap();
        let bundle = std::fs::read_to_string(directory.path().join("bundle.pem")).unwrap();
        let system_roots = rustls_native_certs::load_native_certs().certs.len();
        assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), system_roots + 1);
        for trusted in ["ca.pem", "bundle.pem"] {
            let client = client_trusting(&directory.path().join(trusted));
            let url = format!("https://localhost:{port}/common/v2.0/.well-known/openid-configuration");
            assert_eq!(client.get(url).send().await.unwrap().status(), 200);
        }
        let resolved = reqwest::Client::builder()
            .tls_backend_preconfigured(common::trusting(&file))
            .resolve("emulator.test", format!("127.0.0.1:{port}").parse().unwrap())
            .no_proxy()
            .build()
            .unwrap();
        let url = format!("https://emulator.test:{port}/common/v2.0/.well-known/openid-configuration");
        let configuration: Value = resolved.get(url).send().await.unwrap().json().await.unwrap();
        assert!(
            configuration["token_endpoint"].as_str().unwrap().starts_with(&format!("https://emulator.test:{port}/"))
        );
    }
    use std::os::unix::fs::PermissionsExt;
    let mode = |name: &str| std::fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca-key.pem"), mode("ca.pem"), mode("bundle.pem")), (0o600, 0o644, 0o644));
}

#[test]
fn program_port_option_fixes_the_port() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let started = Started::new(&mut program(&["--port", &format!("imds={free}")]));
    assert_eq!(started.ready["imds_host"], format!("http://127.0.0.1:{free}"));
    let output = output(&mut program(&["--port", &format!("entra={free}")]));
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8(output.stderr).unwrap().contains(&free.to_string()), "the address is named");
}

#[test]
fn developer_tools_apply_their_faults() {
    let script = r#"
        fault() { curl -sS -X DELETE "$PGENTRA_EMULATOR_CONTROL/faults" > /dev/null
                  curl -sS -d "$1" "$PGENTRA_EMULATOR_CONTROL/faults" > /dev/null; }
        az() { command az account get-access-token --output json --resource https://ossrdbms-aad.database.windows.net 2>&1; echo "exit $?"; }
        azd() { command azd auth token --output json --no-prompt --scope https://ossrdbms-aad.database.windows.net/.default 2>&1; echo "exit $?"; }
        pwsh() { command pwsh -NoProfile -NonInteractive -Command "ResourceUrl = 'https://ossrdbms-aad.database.windows.net' azsdk%" 2>&1; echo "exit $?"; }
        command pwsh /? && echo there
        pwsh
        fault '{"error": "not_signed_in"}'; az; azd; pwsh
        fault '{"error": "not_signed_in", "shape": {"escaped_errors": true}}'; azd
        fault '{"error": "not_installed"}'; az
        fault '{"endpoint": "pwsh", "error": "no_module"}'; pwsh
        fault '{"endpoint": "pwsh", "error": "execution_policy"}'; pwsh
        fault '{"endpoint": "az", "aadsts": 700082}'; az
        fault '{"endpoint": "az", "body": "html", "status": 200}'; az
        fault '{"endpoint": "az", "shape": {"expires_on": "missing"}}'; az
    "#;
    let output = exec(&["--as", "alice@contoso.example"], script);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let mut rest = stdout.as_str();
    let token = "azsdk%eyJ";
    let expected = [
        "there\n",
        token,
        "exit 0",
        "ERROR: Please run 'az login' to setup account.\nexit 1",
        r#""message":"not logged in, run `azd auth login` to login""#,
        "exit 1",
        "Run Connect-AzAccount to login.",
        "exit 1",
        "consoleMessage",
        "exit 1",
        "az: not found\nexit 127",
        "NO_AZ_ACCOUNT_MODULE\n\nexit 0",
        "AuthorizationManager check failed",
        "exit 1",
        "ERROR: AADSTS700082: ",
        "exit 1",
        "<!DOCTYPE HTML>",
        "exit 0",
        "\"expiresOn\"",
        "exit 0",
    ];
    for part in expected {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not in {rest:?}"));
        rest = &rest[at + part.len()..];
    }
    let last = stdout.lines().rev().nth(1).unwrap();
    assert!(!last.contains("expires_on") && last.contains("accessToken"), "the local time alone: {last}");
}
