namespace PgEntra.Interop;

/// <summary>Objects that the engine refers to by number. A number, unlike an address, is safe in a late callback.</summary>
/// <remarks>The assembly stays loaded as long as there is an object.</remarks>
internal sealed class Registry<T>
    where T : class
{
    private readonly Dictionary<long, T> objects = [];
    private long last;

    internal int Count
    {
        get
        {
            lock (objects)
            {
                return objects.Count;
            }
        }
    }

    internal nint Add(T item)
    {
        AssemblyReference.Add();
        lock (objects)
        {
            objects.Add(++last, item);
            return (nint)last;
        }
    }

    internal T? Find(nint id)
    {
        lock (objects)
        {
            return objects.GetValueOrDefault(id);
        }
    }

    internal bool Remove(nint id)
    {
        lock (objects)
        {
            if (!objects.Remove(id))
            {
                return false;
            }
        }

        AssemblyReference.Remove();
        return true;
    }
}
