package io.github.pgentra.identity;

import java.util.Map;

/** The credentials that are usual on servers and for developers, in the order of azure-identity; the first that is available is used from then on. Made by {@link DefaultAzureCredentialBuilder}. */
public final class DefaultAzureCredential extends DocumentCredential {
    DefaultAzureCredential(Map<String, Object> document, AssertionCredential assertion) {
        super("default", document, assertion);
    }
}
