"""Modal's control plane on loopback, written from the wire protocol that ships in Modal's own package.

with Plane(folder) as plane:
    subprocess.run(["modal", "deploy", "modal_app.py"], env={**os.environ, **plane.env})

The unmodified client deploys to it, and the unmodified container entry point runs what was deployed. It is
no sandbox, has no GPU, and builds no image: what would be built is recorded.
"""
