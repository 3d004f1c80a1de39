//! Tools that misbehave: `az` that hangs with children, prints without end, or is run from many sides at once.
#![cfg(unix)]

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pgentra::{
    CredentialConfig, ErrorKind,
    config::Environment,
    credential::{Credential, FetchContext, FetchedToken, TokenRequest},
    testing::{BuildContext, BuildInputs, Transport, build},
};
use serde_json::{Value, json};

const TOKEN: &str = r#"{"accessToken":"canary","expires_on":1893456000}"#;

/// A folder with one tool. A file that is being written while another thread starts a process cannot be run, so there is
/// one at a time.
struct Bench {
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    fn new(script: &str) -> Bench {
        Bench::with("az", script)
    }

    fn with(tool: &str, script: &str) -> Bench {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(tool);
        std::fs::write(&path, format!("#!/bin/sh\ncd '{}'\n{script}\n", folder.path().display())).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Bench { folder, _turn: turn }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn credential(&self, document: Value) -> Arc<dyn Credential> {
        let path = format!("{}:/usr/bin:/bin", self.folder.path().display());
        let home = self.folder.path().display().to_string();
        let environment: Environment =
            [("PATH".to_owned(), path.into()), ("HOME".to_owned(), home.into())].into_iter().collect();
        let inputs = BuildInputs::new(&environment);
        let context =
            BuildContext::new(&inputs).with_transport(Transport::canned(|_| unreachable!("no request is sent")));
        build(&CredentialConfig::from_value(document).unwrap(), &context).unwrap()
    }
}

async fn fetch(credential: &dyn Credential) -> pgentra::Result<FetchedToken> {
    let request = TokenRequest::new("https://ossrdbms-aad.database.windows.net/.default");
    credential.fetch(&request, FetchContext { has_fallback: false, ..FetchContext::default() }).await
}

/// The process ids that the script wrote down, once there are so many.
async fn pids(path: &Path, count: usize) -> Vec<i32> {
    within(|| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let pids: Vec<i32> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
        (pids.len() == count).then_some(pids)
    })
    .await
}

async fn gone(pids: &[i32]) {
    within(|| {
        let is_gone = |pid: &i32| {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // SAFETY: signal 0 only asks whether the process exists.
            let is_gone = unsafe { libc::kill(*pid, 0) } == -1;
            is_gone || state.contains(") Z ")
        };
        pids.iter().all(is_gone).then_some(())
    })
    .await;
}

async fn within<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "it did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// It hangs, with a child that hangs and holds the output open.
const HANGS: &str = "sleep 1000 & echo $! >> pids; echo $$ >> pids; wait";

#[tokio::test]
async fn azure_cli_that_hangs_is_killed_with_its_children() {
    let bench = Bench::new(HANGS);
    let credential = bench.credential(json!({"type": "azure_cli", "process_timeout": 2}));
    let started = Instant::now();
    let error = fetch(&*credential).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("did not finish within 2.0 s"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
    gone(&pids(&bench.file("pids"), 2).await).await;
}

#[tokio::test]
async fn developer_tool_of_any_kind_that_hangs_is_killed() {
    for (tool, kind, title) in [
        ("azd", "azure_developer_cli", "Azure Developer CLI did not finish within 2.0 s"),
        ("pwsh", "azure_powershell", "Azure PowerShell did not finish within 2.0 s"),
    ] {
        let bench = Bench::with(tool, HANGS);
        let error = fetch(&*bench.credential(json!({"type": kind, "process_timeout": 2}))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(error.to_string().contains(title), "{error}");
        gone(&pids(&bench.file("pids"), 2).await).await;
    }
}

#[tokio::test]
async fn developer_tool_of_a_dropped_fetch_is_killed() {
    let bench = Bench::new(HANGS);
    let credential = bench.credential(json!({"type": "azure_cli"}));
    let task = tokio::spawn(async move { fetch(&*credential).await.map(|_| ()) });
    let pids = pids(&bench.file("pids"), 2).await;
    task.abort();
    gone(&pids).await;
}

#[tokio::test]
async fn default_credential_with_a_hanging_tool_counts_it_as_unavailable() {
    let bench = Bench::new(HANGS);
    let members = ["EnvironmentCredential", "WorkloadIdentityCredential", "ManagedIdentityCredential"];
    let document = json!({"type": "default", "process_timeout": 0.3, "exclude": members});
    let error = fetch(&*bench.credential(document)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialUnavailable, "{error}");
    assert!(error.to_string().contains("AzureCliCredential: Azure CLI did not finish within 0.3 s"), "{error}");
}

#[tokio::test]
async fn developer_tool_runs_once_at_a_time() {
    let bench = Bench::new(&format!("echo in >> log; sleep 0.05; echo out >> log; printf %s '{TOKEN}'"));
    let one = bench.credential(json!({"type": "azure_cli"}));
    let other = bench.credential(json!({"type": "azure_cli", "tenant_id": "t"}));
    let fetches = (0..6).map(|n| fetch(if n % 2 == 0 { &*one } else { &*other }));
    for outcome in futures_util::future::join_all(fetches).await {
        assert_eq!(outcome.unwrap().expires_on, Some(1_893_456_000));
    }
    let log = std::fs::read_to_string(bench.file("log")).unwrap();
    assert_eq!(log, "in\nout\n".repeat(6));
}

#[tokio::test]
async fn developer_tool_that_leaves_a_process_running_does_not_block() {
    let bench = Bench::new(&format!("sleep 1000 & echo $! > pids; printf %s '{TOKEN}'"));
    let started = Instant::now();
    let token = fetch(&*bench.credential(json!({"type": "azure_cli"}))).await.unwrap();
    assert_eq!(token.token.expose(), "canary");
    assert!(started.elapsed() < Duration::from_secs(9), "it waited for the child's end of the pipe");
    let pids = pids(&bench.file("pids"), 1).await;
    for pid in pids {
        // SAFETY: the process is this test's own: its id was written down by the script, and it has not ended.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0, "it was killed");
    }
}

#[tokio::test]
async fn developer_tool_with_endless_output_is_stopped() {
    let bench = Bench::new("while :; do echo 0123456789012345678901234567890123456789012345678901234567890; done");
    let credential = bench.credential(json!({"type": "azure_cli", "process_timeout": 0.5}));
    let error = fetch(&*credential).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test]
async fn developer_tool_with_more_output_than_a_pipe_holds_is_read() {
    let bench = Bench::new("head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 3");
    let error = fetch(&*bench.credential(json!({"type": "azure_cli"}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{}", error.code());
    assert!(error.to_string().contains("exit status 3") && error.to_string().len() < 1000);
}

#[tokio::test]
async fn developer_tool_runs_in_a_safe_folder_without_input() {
    // The script's own `cd` would hide it.
    let bench = Bench::new("");
    let script = r#"#!/bin/sh
wd=$(pwd -P)
read line && wd=input
printf '{"accessToken":"%s","expires_on":1}' "$wd"
"#;
    std::fs::write(bench.file("az"), script).unwrap();
    let token = fetch(&*bench.credential(json!({"type": "azure_cli"}))).await.unwrap();
    assert_eq!(Path::new(token.token.expose()), Path::new("/bin").canonicalize().unwrap());
}

#[test]
fn developer_tool_stamp_changes_with_the_profile() {
    let bench = Bench::new("");
    let credential = bench.credential(json!({"type": "azure_cli"}));
    let chain =
        bench.credential(json!({"type": "chained", "credentials": [{"type": "environment"}, {"type": "azure_cli"}]}));
    let stamps = || (credential.stamp().unwrap(), chain.stamp().unwrap());
    let without = stamps();
    assert_eq!(stamps(), without);
    std::fs::create_dir(bench.file(".azure")).unwrap();
    std::fs::write(bench.file(".azure/azureProfile.json"), "{}").unwrap();
    let with = stamps();
    assert!(with.0 != without.0 && with.1 != without.1);
    std::fs::write(bench.file(".azure/azureProfile.json"), "{ }").unwrap();
    assert_ne!(stamps(), with);
    assert_eq!(bench.credential(json!({"type": "environment"})).stamp(), None);
}

#[tokio::test]
async fn azure_cli_without_its_interpreter_is_reported_as_broken() {
    let bench = Bench::new("");
    std::fs::write(bench.file("az"), "#!/nowhere/python3\n").unwrap();
    let error = fetch(&*bench.credential(json!({"type": "azure_cli"}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error}");
    let text = error.to_string();
    assert!(text.contains("its interpreter is missing") && text.contains("Repair or reinstall"), "{text}");
    assert!(!text.contains("not installed"), "{text}");
}
