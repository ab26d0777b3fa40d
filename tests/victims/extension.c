/* A module for Python that keeps an object and a buffer, and loses what it is told to. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *kept;
static void *kept_buffer;

static PyObject *keep(PyObject *module, PyObject *object)
{
    (void)module;
    Py_INCREF(object);
    kept = object;
    kept_buffer = malloc(500);
    Py_RETURN_NONE;
}

/* One reference too many is never given back, and a buffer never freed. */
static PyObject *lose(PyObject *module, PyObject *object)
{
    (void)module;
    void *volatile lost = malloc(3000);
    lost = NULL;
    Py_INCREF(object);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    { "keep", keep, METH_O, NULL }, { "lose", lose, METH_O, NULL }, { NULL, NULL, 0, NULL },
};
static struct PyModuleDef definition = { PyModuleDef_HEAD_INIT, "extension", NULL, -1, methods, NULL, NULL, NULL, NULL };
PyMODINIT_FUNC PyInit_extension(void) { return PyModule_Create(&definition); }
