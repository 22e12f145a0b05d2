"""A Flask app with a static asset and a native module (markupsafe's C speedups are compiled in the build)."""
import os

from flask import Flask
from markupsafe import _speedups, escape

app = Flask(__name__)


@app.get("/")
def hello():
    return f"Hello from python {escape('<3')} {_speedups.__name__}\n", 200, {"Content-Type": "text/plain"}


@app.get("/up")
def up():
    return {"ok": True, "release": os.environ.get("PAAS_RELEASE")}
