"""A web server with one medium, for BMCs to fetch."""

import http.server
import threading


class _Medium(http.server.BaseHTTPRequestHandler):
    content = b"medium" * 40_000

    def do_GET(self):
        if self.path != "/medium.iso":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_):
        pass


def serve():
    """Serve in the background; the medium's address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Medium)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/medium.iso"
