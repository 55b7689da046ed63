import de.bwaldvogel.mongo.MongoBackend;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.backend.memory.MemoryDatabase;
import de.bwaldvogel.mongo.backend.memory.index.MemoryUniqueIndex;
import de.bwaldvogel.mongo.bson.Document;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import org.h2.mvstore.MVStore;

/**
 * Starts a mongo-java-server: DATA ADDRESS PORT READY. Its documents are in memory where DATA is
 * "memory", else in the file DATA, where a write is 100 ms after its answer: only an orderly end loses nothing. READY is written, with its process id, when it listens.
 */
public class MongoLauncher {
    /** Today's drivers refuse the versions that the server knows; this is the oldest one that they take. */
    static final MongoVersion VERSION = new MongoVersion() {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(4, 4, 0);
        }

        @Override
        public int getWireVersion() {
            return 9;
        }
    };

    /** Every command holds the reader's side. The server's own end would cut commands off between a document and its index. */
    static final ReentrantReadWriteLock COMMANDS = new ReentrantReadWriteLock();

    public static void main(String[] args) throws Exception {
        MongoBackend backend = new Memory();
        if (!args[0].equals("memory")) {
            MVStore store = new MVStore.Builder().fileName(args[0]).open();
            store.setAutoCommitDelay(100);
            backend = new H2Backend(store);
        }
        run(backend.version(VERSION), args);
    }

    static void run(MongoBackend backend, String[] args) throws Exception {
        MongoServer server = new MongoServer(guarded(backend));
        server.bind(args[1], Integer.parseInt(args[2]));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            COMMANDS.writeLock().lock(); // for ever
            backend.close();
        }));
        Files.writeString(Path.of(args[3]), Long.toString(ProcessHandle.current().pid()));
        new CountDownLatch(1).await();
    }

    static MongoBackend guarded(MongoBackend backend) {
        return (MongoBackend) Proxy.newProxyInstance(MongoLauncher.class.getClassLoader(), new Class<?>[] {MongoBackend.class}, (proxy, method, values) -> {
            COMMANDS.readLock().lock();
            try {
                return method.invoke(backend, values);
            } catch (InvocationTargetException e) {
                throw e.getCause();
            } finally {
                COMMANDS.readLock().unlock();
            }
        });
    }

    /** The server's own memory, but that it finds by _id as a mongod does. */
    static class Memory extends MemoryBackend {
        @Override
        public MemoryDatabase openOrCreateDatabase(String name) {
            return new MemoryDatabase(name, getCursorRegistry()) {
                @Override
                protected Index<Integer> openOrCreateUniqueIndex(String collection, String index, List<IndexKey> keys, boolean sparse) {
                    return new ByID(index, keys, sparse);
                }
            };
        }
    }

    /**
     * An index that is used where the filter has other fields too: {_id: 7, version: {$lt: 9}}. The server's own is not, and looks at every
     * document then. The filter as a whole is asked of the documents that are found.
     */
    static class ByID extends MemoryUniqueIndex {
        ByID(String name, List<IndexKey> keys, boolean sparse) {
            super(name, keys, sparse);
        }

        @Override
        public synchronized boolean canHandle(Document filter) {
            return super.canHandle(filter) || filter.containsKey("_id") && super.canHandle(id(filter));
        }

        @Override
        public synchronized Iterable<Integer> getPositions(Document filter) {
            return super.getPositions(super.canHandle(filter) ? filter : id(filter));
        }

        private static Document id(Document filter) {
            return new Document("_id", filter.get("_id"));
        }
    }
}
