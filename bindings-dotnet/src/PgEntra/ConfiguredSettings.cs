using System.Runtime.CompilerServices;
using Npgsql;

namespace PgEntra;

/// <summary>Tells what the application wrote into a connection string from what this library wrote.</summary>
/// <remarks>
/// A data source builder may be configured several times, and the last time counts: each starts from the application's own
/// settings, so that a role which follows from one identity is never an explicit user of the next.
/// </remarks>
internal sealed class ConfiguredSettings
{
    private static readonly ConditionalWeakTable<NpgsqlConnectionStringBuilder, ConfiguredSettings> Known = [];

    private readonly NpgsqlConnectionStringBuilder settings;
    private readonly Dictionary<string, Change> changes = [];
    private string? host;

    private ConfiguredSettings(NpgsqlConnectionStringBuilder settings) => this.settings = settings;

    internal static ConfiguredSettings Of(NpgsqlConnectionStringBuilder settings) =>
        Known.GetValue(settings, static settings => new(settings));

    /// <summary>Returns what the application wrote; <see langword="null"/> if it wrote nothing.</summary>
    /// <param name="keyword">The keyword as Npgsql writes it.</param>
    internal object? Given(string keyword)
    {
        var current = Current(keyword);
        return changes.TryGetValue(keyword, out var change) && IsUnchanged(current, change.Ours) ? change.Given : current;
    }

    /// <summary>Writes settings in place of those that were written the last time.</summary>
    /// <param name="wanted">Values by keyword.</param>
    internal void Write(Dictionary<string, object> wanted)
    {
        // Read before anything is changed: the host tells whether the rest is still as it was written.
        var before = changes.Keys.Union(wanted.Keys).ToDictionary(keyword => keyword, Given);
        changes.Clear();
        foreach (var (keyword, given) in before)
        {
            // A new string: the same text is another instance where the application writes it later.
            var value = wanted.TryGetValue(keyword, out var found) ? found is string text ? new string(text.AsSpan()) : found : given;
            if (value is null)
            {
                _ = settings.Remove(keyword);
            }
            else
            {
                settings[keyword] = value;
            }

            if (wanted.ContainsKey(keyword))
            {
                changes[keyword] = new(given, Current(keyword));
            }
        }

        host = settings.Host;
    }

    private object? Current(string keyword) => settings.ShouldSerialize(keyword) ? settings[keyword] : null;

    /// <summary>
    /// Whether a value is still the one that this library wrote. Npgsql keeps the instances of strings, except where the whole
    /// connection string was assigned: that replaces the host's instance, too.
    /// </summary>
    private bool IsUnchanged(object? current, object? ours) => current is string && ReferenceEquals(settings.Host, host)
        ? ReferenceEquals(current, ours)
        : Equals(current, ours);

    private sealed class Change(object? given, object? ours)
    {
        internal object? Given => given;

        internal object? Ours => ours;
    }
}
