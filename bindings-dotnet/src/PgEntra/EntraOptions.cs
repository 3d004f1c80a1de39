using System.Text.Json;

namespace PgEntra;

/// <summary>Options of every door.</summary>
public sealed class EntraOptions
{
    /// <summary>What the token is for. Default: the cloud's database scope; the cloud follows from the server's name.</summary>
    public string? Scope { get; set; }

    /// <summary>The server's name, which may tell the cloud. Default: the connection string's.</summary>
    public string? Host { get; set; }

    /// <summary>The role to log in as. Default: the connection string's, then <c>PGUSER</c>, then what the token says.</summary>
    public string? User { get; set; }

    /// <summary>The role to log in as where nothing else names one.</summary>
    public string? FallbackUsername { get; set; }

    /// <summary>Whether a management token may be asked for the role's name. Default: true.</summary>
    public bool ManagementLookup { get; set; } = true;

    /// <summary>
    /// The connection of Azure Service Connector whose variables are used: <see langword="true"/> for the only one, or a
    /// connection's name or the prefix of its variables. Default: none.
    /// </summary>
    /// <remarks>
    /// The variables give the server, the database, the role and the identity, where the connection string does not give them.
    /// A credential beside this option is an error. With a password in the variables no token is used.
    /// </remarks>
    public ServiceConnector? ServiceConnector { get; set; }

    /// <summary>
    /// Whether a password in the connection string or in Service Connector's variables is an error at once. Default: false;
    /// then a password in the connection string is Npgsql's own error when the data source is built.
    /// </summary>
    public bool RequireEntra { get; set; }

    /// <summary>Whether a token may travel without TLS. Default: false; to this machine it may.</summary>
    public bool AllowInsecureTransport { get; set; }

    /// <summary>When tokens are refreshed. Default: <see cref="RefreshMode.Background"/>.</summary>
    public RefreshMode? Mode { get; set; }

    /// <summary>Whether tokens are cached. Default: true; false asks the credential at each connection.</summary>
    public bool Cache { get; set; } = true;

    /// <summary>A PEM file of certificate authorities to trust, besides the system's, when talking to Entra.</summary>
    public string? CaFile { get; set; }

    /// <summary>How long a caller waits at most. Default: 30 s, and never longer than the connection's own limit.</summary>
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
                // The engine refuses it by its name.
                _ => "unknown",
            });
        }

        if (Timeout is { } timeout)
        {
            writer.WriteNumber("timeout", timeout.TotalSeconds);
        }
    }
}

/// <summary>When tokens are refreshed.</summary>
public enum RefreshMode
{
    /// <summary>In the background, when somebody asks past the refresh point.</summary>
    Background = 0,

    /// <summary>Never off a caller's path: for platforms that freeze the process between calls.</summary>
    Lazy = 1,

    /// <summary>In the background, also while nobody asks.</summary>
    Ahead = 2,
}
