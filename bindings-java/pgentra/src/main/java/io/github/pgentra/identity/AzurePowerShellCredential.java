package io.github.pgentra.identity;

import java.util.Map;

/** The account that is signed in with Azure PowerShell. Made by {@link AzurePowerShellCredentialBuilder}. */
public final class AzurePowerShellCredential extends DocumentCredential {
    AzurePowerShellCredential(Map<String, Object> document, AssertionCredential assertion) {
        super("azure_powershell", document, assertion);
    }
}
