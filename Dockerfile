# showtell serve on a CPU; for CUDA: --build-arg TORCH=https://download.pytorch.org/whl/cu128
#   docker build -t showtell .
#   docker run --rm -p 8000:8000 -v "$PWD/models:/models:ro" showtell /models/flickr8k
FROM python:3.13-slim AS build
ARG TORCH=https://download.pytorch.org/whl/cpu
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
# torch comes from the index of its build, all else from PyPI, in the versions that were tested together.
RUN python -m venv /opt/showtell \
    && /opt/showtell/bin/pip install --no-cache-dir --constraint constraints.txt --extra-index-url "$TORCH" \
       ".[train,onnx,serve,heif]"

FROM python:3.13-slim
COPY --from=build /opt/showtell /opt/showtell
RUN useradd --system --create-home --uid 10001 showtell
USER 10001
WORKDIR /home/showtell
ENV PATH=/opt/showtell/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["showtell", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/models/flickr8k"]
