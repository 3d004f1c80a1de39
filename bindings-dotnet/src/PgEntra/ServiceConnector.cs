namespace PgEntra;

/// <summary>A connection of Azure Service Connector, for <see cref="EntraOptions.ServiceConnector"/>.</summary>
/// <remarks>
/// Service Connector describes a connection in environment variables: <c>AZURE_POSTGRESQL_*</c>, or
/// <c>AZURE_POSTGRESQL_&lt;CONNECTION&gt;_*</c> for a second one. <see langword="true"/> and a string convert to this type.
/// </remarks>
public sealed class ServiceConnector
{
    private ServiceConnector(string? name) => Name = name;

    /// <summary>The only connection that is configured. If there are several, the error lists them.</summary>
    public static ServiceConnector Only { get; } = new(null);

    /// <summary>The connection's name or the prefix of its variables; <see langword="null"/> for <see cref="Only"/>.</summary>
    public string? Name { get; }

    /// <summary>Returns the connection with a name, or with variables of a prefix.</summary>
    /// <param name="name">The connection's name in Service Connector, or the literal prefix of its variables.</param>
    /// <returns>The connection.</returns>
    public static ServiceConnector Named(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return new(name);
    }

    /// <summary>Converts a name or prefix, as <see cref="Named"/> does; <see langword="null"/> turns the option off.</summary>
    /// <param name="name">The name or prefix.</param>
    public static implicit operator ServiceConnector?(string? name) => name is null ? null : new(name);

    /// <summary>Converts <see langword="true"/> to <see cref="Only"/>; <see langword="false"/> turns the option off.</summary>
    /// <param name="enabled">Whether the option is on.</param>
    public static implicit operator ServiceConnector?(bool enabled) => enabled ? Only : null;

    /// <summary>Returns the name, or <c>true</c> for <see cref="Only"/>.</summary>
    /// <returns>The text.</returns>
    public override string ToString() => Name ?? "true";
}
