package io.github.pgentra.identity;

import java.util.Map;

/** A workload identity of Kubernetes. Made by {@link WorkloadIdentityCredentialBuilder}. */
public final class WorkloadIdentityCredential extends DocumentCredential {
    WorkloadIdentityCredential(Map<String, Object> document, AssertionCredential assertion) {
        super("workload_identity", document, assertion);
    }
}
