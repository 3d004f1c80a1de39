namespace PgEntra;

/// <summary>The .NET object of the last token, by the engine's id of that token.</summary>
/// <remarks>
/// As long as the token is the same, callers get the same object, so a call that finds a token allocates nothing. Any thread
/// may read and write; a lost write only costs another copy.
/// </remarks>
internal sealed class TokenStringCache<T>
    where T : notnull
{
    private Entry? entry;

    /// <summary>Returns the id and the object; the id is 0 if there is no object.</summary>
    internal (ulong Id, T? Value) Read() => entry is { } current ? (current.Id, current.Value) : default;

    /// <summary>Stores the object of a token, and returns it.</summary>
    internal T Store(ulong id, T value)
    {
        entry = new(id, value);
        return value;
    }

    // Not a record: its ToString would contain a token.
    private sealed class Entry(ulong id, T value)
    {
        internal ulong Id => id;

        internal T Value => value;
    }
}
