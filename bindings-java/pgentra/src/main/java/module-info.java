/** Logs in to PostgreSQL with Microsoft Entra identities. */
module io.github.pgentra {
    exports io.github.pgentra;
    exports io.github.pgentra.hikari;
    exports io.github.pgentra.identity;
    exports io.github.pgentra.jdbc;
    exports io.github.pgentra.r2dbc;

    uses io.github.pgentra.identity.CredentialConverter;

    requires transitive java.sql;
    requires static com.zaxxer.hikari;
    requires static org.postgresql.jdbc;
    requires static org.reactivestreams;
    requires static r2dbc.postgresql;
    requires static r2dbc.spi;
    requires static reactor.core;
}
