// For the examples of the clients, which take it in as they are run: a server as the program `osprey` runs it, in a directory and on a port of its own, until it is dropped.

struct ExampleServer {
    address: String,
    stopper: osprey::server::Stopper,
    thread: Option<std::thread::JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl ExampleServer {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory for an example");
        let mut settings = osprey::config::Loader::new();
        settings.flag("data-dir", "data_dir", directory.path().to_str().expect("its name is UTF-8"));
        settings.flag("listen", "listen_addr", "127.0.0.1:0");
        let settings = osprey::server::Settings::from_config(settings.finish().expect("the options of an example").config).expect("a local address");
        let (started, start) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let server = osprey::server::Server::open(settings).expect("a server for an example");
            started.send((server.address().to_string(), server.stopper())).expect("the example waits for it");
            server.run().expect("it ends in order");
        });
        let (address, stopper) = start.recv().expect("it has been started");
        Self { address, stopper, thread: Some(thread), _directory: directory }
    }
}

impl Drop for ExampleServer {
    fn drop(&mut self) {
        self.stopper.stop();
        self.thread.take().map(|thread| thread.join());
    }
}
