using System.Text.Json;

namespace PgEntra;

/// <summary>The options of all entry points.</summary>
public sealed class EntraOptions
{
    /// <summary>The scope of the token. Default: the cloud's scope for PostgreSQL; the cloud is known by the server's name.</summary>
    public string? Scope { get; set; }

    /// <summary>The server's name, by which the cloud may be known. Default: the connection string's.</summary>
    public string? Host { get; set; }

    /// <summary>The role to log in as. Default: the connection string's, then <c>PGUSER</c>, then the one in the token.</summary>
    public string? User { get; set; }

    /// <summary>The role to log in as if it is not given otherwise and the token does not contain it.</summary>
    public string? FallbackUsername { get; set; }

    /// <summary>Whether a management token may be requested to find the role's name. Default: true.</summary>
    public bool ManagementLookup { get; set; } = true;

    /// <summary>
    /// The connection of Azure Service Connector whose variables are used: <see langword="true"/> for the only one, or a
    /// connection's name or the prefix of its variables. Default: none.
    /// </summary>
    /// <remarks>
    /// The variables give the server, the database, the role and the identity, unless the connection string gives them.
    /// A credential together with this option is an error. If the variables contain a password, no token is used.
    /// </remarks>
    public ServiceConnector? ServiceConnector { get; set; }

    /// <summary>
    /// Whether a password in the connection string or in Service Connector's variables is an error at once. Default: false;
    /// Npgsql then reports a password in the connection string when the data source is built.
    /// </summary>
    public bool RequireEntra { get; set; }

    /// <summary>
    /// Whether a password in the connection string or in Service Connector's variables is removed, for settings that must
    /// contain a placeholder. The user is kept, and a token is used. Default: false. An error together with
    /// <see cref="RequireEntra"/>.
    /// </summary>
    public bool IgnorePassword { get; set; }

    /// <summary>Whether a token may be sent without TLS. Default: false; a local server is always allowed.</summary>
    public bool AllowInsecureTransport { get; set; }

    /// <summary>When tokens are refreshed. Default: <see cref="RefreshMode.Background"/>.</summary>
    public RefreshMode? Mode { get; set; }

    /// <summary>Whether tokens are cached. Default: true; false requests a token from the credential for each connection.</summary>
    public bool Cache { get; set; } = true;

    /// <summary>A PEM file of certificate authorities for the connections to Entra, in addition to the system's.</summary>
    public string? CaFile { get; set; }

    /// <summary>The longest wait of a caller. Default: 30 s, and always less than the connection's <c>Timeout</c>.</summary>
    public TimeSpan? Timeout { get; set; }

    internal void Write(Utf8JsonWriter writer, string? user, bool takesScope)
    {
        writer.WriteOptional("user", user);
        writer.WriteOptional("fallback_username", FallbackUsername);
        writer.WriteBoolean("management_lookup", ManagementLookup && takesScope);
        writer.WriteBoolean("cache", Cache);
        if (Mode is { } mode)
        {
            writer.WriteString("mode", mode switch
            {
                RefreshMode.Background => "background",
                RefreshMode.Lazy => "lazy",
                RefreshMode.Ahead => "ahead",
                // The engine's error names the option.
                _ => "unknown",
            });
        }

        if (Timeout is { } timeout)
        {
            writer.WriteNumber("timeout", timeout.TotalSeconds);
        }
    }
}
