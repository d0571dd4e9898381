"""A GitHub workflow that builds and pushes the image, for who has no Docker, and rolls it out."""

from __future__ import annotations

from coldstart_sdk.backends.runpod import dockerfile
from coldstart_sdk.plan import Plan


def spell(plan: Plan) -> str:
    names = dockerfile.build_secrets(plan)
    secrets = "".join(f"            {name}=${{{{ secrets.{name} }}}}\n" for name in names)
    given = f"          secrets: |\n{secrets}" if names else ""
    return f"""\
# Builds the image of {plan.spec.name} and rolls it out. Made by coldstart {plan.sdk}; edits are lost.
# Needs the repository's secret RUNPOD_API_KEY and its variable RUNPOD_ENDPOINT, the id of the endpoint.
name: coldstart
on:
  push:
    branches: [main]
  workflow_dispatch:
permissions:
  contents: read
  packages: write
jobs:
  image:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: docker/setup-buildx-action@v3
      - uses: docker/login-action@v3
        with:
          registry: ghcr.io
          username: ${{{{ github.actor }}}}
          password: ${{{{ secrets.GITHUB_TOKEN }}}}
      - id: image
        run: echo "name=ghcr.io/${{GITHUB_REPOSITORY,,}}/{plan.spec.name}:${{GITHUB_SHA}}" >> "$GITHUB_OUTPUT"
      - uses: docker/build-push-action@v6
        with:
          context: .
          platforms: linux/amd64
          push: true
          tags: ${{{{ steps.image.outputs.name }}}}
{given}\
      - env:
          RUNPOD_API_KEY: ${{{{ secrets.RUNPOD_API_KEY }}}}
          IMAGE: ${{{{ steps.image.outputs.name }}}}
        run: |
          curl --fail-with-body --request PATCH \\
            --header "Authorization: Bearer $RUNPOD_API_KEY" --header "Content-Type: application/json" \\
            --data "{{\\"image\\": \\"$IMAGE\\"}}" \\
            "https://api.runpod.io/v2/serverless/${{{{ vars.RUNPOD_ENDPOINT }}}}"
"""
