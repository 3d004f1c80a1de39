/** Credentials of azure-core for pgentra, and the other way. */
module io.github.pgentra.azure {
    exports io.github.pgentra.azure;

    provides io.github.pgentra.identity.CredentialConverter with
            io.github.pgentra.azure.AzureCredentialConverter;

    requires transitive com.azure.core;
    requires transitive io.github.pgentra;
    requires reactor.core;
}
