package io.github.pgentra.identity;

import java.util.Map;

/** The account that is signed in with {@code azd}. Made by {@link AzureDeveloperCliCredentialBuilder}. */
public final class AzureDeveloperCliCredential extends DocumentCredential {
    AzureDeveloperCliCredential(Map<String, Object> document, AssertionCredential assertion) {
        super("azure_developer_cli", document, assertion);
    }
}
