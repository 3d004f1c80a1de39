package io.github.pgentra.identity;

import java.util.Map;

/** A service connection of Azure Pipelines. Made by {@link AzurePipelinesCredentialBuilder}. */
public final class AzurePipelinesCredential extends DocumentCredential {
    AzurePipelinesCredential(Map<String, Object> document, AssertionCredential assertion) {
        super("azure_pipelines", document, assertion);
    }
}
