//! Tools with which a developer signs in: Azure CLI, Azure Developer CLI, Azure PowerShell.

pub(super) mod azure_cli;
pub(super) mod azure_developer_cli;
pub(super) mod azure_powershell;
pub(crate) mod process;
pub(super) mod tool_text;
