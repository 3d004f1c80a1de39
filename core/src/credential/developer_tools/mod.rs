//! The tools with which a developer is signed in: Azure CLI, Azure Developer CLI, Azure PowerShell.

pub(super) mod azure_cli;
pub(super) mod azure_developer_cli;
pub(super) mod azure_powershell;
pub(super) mod process;
pub(super) mod tool_text;
